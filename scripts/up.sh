#!/usr/bin/env bash
# Starts wharf from the directory of binaries given, deploys the sample service and shows it. Run
# again it updates what is there.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=$PWD/${1:-target/release}
export PATH="$bin:$PWD/target/venv/bin:$PATH" AWS_PAGER=""

as_root=()
((EUID == 0)) || as_root=(sudo)
"${as_root[@]}" "$bin/wharf" up
"${as_root[@]}" "$bin/wharf" image build --name hello:latest "$bin/hello" >/dev/null
eval "$("$bin/wharf" env)"

aws ecs register-task-definition --cli-input-json file://examples/hello/task-definition.json \
  --query taskDefinition.taskDefinitionArn --output text >/dev/null
status=$(aws ecs describe-services --services hello --query 'services[0].status' --output text)
if [[ $status == ACTIVE ]]; then
  aws ecs update-service --service hello --task-definition hello --desired-count 3 >/dev/null
else
  aws ecs create-service --service-name hello --task-definition hello --desired-count 3 >/dev/null
fi
aws ecs wait services-stable --services hello

echo
wharf ps
echo
arns=$(aws ecs list-tasks --service-name hello --query 'taskArns' --output text)
# shellcheck disable=SC2086 # a list of words
ports=$(aws ecs describe-tasks --tasks $arns --output text \
  --query 'tasks[].containers[].networkBindings[].hostPort')
for port in $ports; do
  curl --silent --show-error --fail --max-time 5 "http://127.0.0.1:$port/" >/dev/null
  echo "http://127.0.0.1:$port/"
done
echo
echo "Endpoint: $AWS_ENDPOINT_URL — point clients at it with: eval \"\$($bin/wharf env)\""
