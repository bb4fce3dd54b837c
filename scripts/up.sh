#!/usr/bin/env bash
# Starts wharf from the directory of binaries given, deploys the sample service and shows it:
# endpoint, tasks, and a URL per task that has just answered. A second run changes nothing unless
# the sample has changed; then it is rolled out.
set -euo pipefail
bin=$(realpath "${1:-target/release}")
cd "$(dirname "$0")/.."
export PATH="$bin:$PWD/target/venv/bin:$PATH" AWS_PAGER=""

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
as_root=()
((EUID == 0)) || as_root=(sudo --preserve-env=WHARF_DATA_DIR,WHARF_LISTEN,WHARF_VPC_CIDR)

say "starting wharf"
"${as_root[@]}" "$bin/wharf" up
exports=$("$bin/wharf" env)
eval "$exports"

# What is deployed is told apart by what it was made of.
definition=examples/hello/task-definition.json
made_of=$(cat "$bin/hello" "$definition" | sha256sum | cut -c1-32)
deployed=$(aws ecs describe-services --services hello --output text \
  --query "services[?status=='ACTIVE'].taskDefinition")
if [[ -n $deployed ]]; then
  mark=$(aws ecs describe-task-definition --task-definition "$deployed" --include TAGS \
    --output text --query "tags[?key=='made-of'].value")
else
  mark=
fi

if [[ $mark != "$made_of" ]]; then
  say "building the sample image and registering its task definition"
  "${as_root[@]}" "$bin/wharf" image build --name hello:latest "$bin/hello" >/dev/null
  aws ecs register-task-definition --cli-input-json "file://$definition" \
    --tags "key=made-of,value=$made_of" >/dev/null
fi
if [[ -z $deployed ]]; then
  say "creating service hello with three tasks"
  aws ecs create-service --service-name hello --task-definition hello --desired-count 3 >/dev/null
elif [[ $mark != "$made_of" ]]; then
  say "rolling service hello over to the new revision"
  aws ecs update-service --service hello --task-definition hello --desired-count 3 >/dev/null
else
  aws ecs update-service --service hello --desired-count 3 >/dev/null
fi
say "waiting until service hello is stable"
aws ecs wait services-stable --services hello

echo "Endpoint: $AWS_ENDPOINT_URL"
echo
wharf ps
echo
read -r -a arns < <(aws ecs list-tasks --service-name hello --desired-status RUNNING \
  --output text --query taskArns)
aws ecs describe-tasks --tasks "${arns[@]}" --output text \
  --query 'tasks[].[taskArn, containers[].networkBindings[] | [0].hostPort]' |
  while read -r arn port; do
    url=http://127.0.0.1:$port/
    # RUNNING says that the process was started; it may need a moment until it listens.
    curl --silent --show-error --fail --max-time 5 --retry 20 --retry-delay 1 --retry-connrefused \
      --output /dev/null "$url" || {
      echo "up.sh: task ${arn##*/} does not answer at $url: try \`wharf logs ${arn##*/}\`" >&2
      exit 1
    }
    echo "task ${arn##*/}: curl $url"
  done
echo
echo "Point AWS clients at it with: eval \"\$($bin/wharf env)\""
