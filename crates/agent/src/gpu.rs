//! GPUs by their device files: which ones this host has, and what a container gets of them.
//!
//! The files are all there is to it: the libraries that go with NVIDIA's driver are the image's.

use std::path::{Path, PathBuf};

use wharf_runtime::spec::Device;

use crate::engine::Failure;

/// Where NVIDIA's driver tells of its GPUs.
const DRIVER: &str = "/proc/driver/nvidia/gpus";
/// What every container with a GPU needs beside it, as far as the host has it.
const CONTROL: [&str; 4] = ["nvidiactl", "nvidia-uvm", "nvidia-uvm-tools", "nvidia-modeset"];
/// The variable by which programs know which GPUs are theirs.
pub(crate) const VISIBLE: &str = "NVIDIA_VISIBLE_DEVICES";

/// The GPUs of this host.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Gpus {
    directory: PathBuf,
    /// Id and number of each.
    all: Vec<(String, u32)>,
}

impl Gpus {
    /// Those with a device file in the directory, such as /dev.
    pub(crate) fn find(directory: &Path) -> Self {
        Self::find_by(directory, Path::new(DRIVER))
    }

    fn find_by(directory: &Path, driver: &Path) -> Self {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let mut numbers: Vec<u32> = names.filter_map(|name| number(&name)).collect();
        numbers.sort_unstable();
        let uuids = uuids(driver);
        let id = |number: u32| {
            let known = uuids.iter().find(|(_, minor)| *minor == number);
            // Programs take the number as well.
            known.map_or_else(|| number.to_string(), |(uuid, _)| uuid.clone())
        };
        let all = numbers.into_iter().map(|number| (id(number), number)).collect();
        Self { directory: directory.to_owned(), all }
    }

    /// Their ids.
    pub(crate) fn ids(&self) -> impl Iterator<Item = &str> {
        self.all.iter().map(|(id, _)| id.as_str())
    }

    /// The devices of a container that was given these.
    pub(crate) fn devices(&self, ids: &[String]) -> Result<Vec<Device>, Failure> {
        let mut names = Vec::new();
        for id in ids {
            let found = self.all.iter().find(|(known, _)| known == id);
            let (_, number) = found.ok_or_else(|| {
                let text = format!("the GPU {id} that the task was given is not on this host");
                Failure::new("CannotCreateContainerError", text)
            })?;
            names.push(format!("nvidia{number}"));
        }
        if !names.is_empty() {
            let there = CONTROL.iter().filter(|name| self.directory.join(name).exists());
            names.extend(there.map(|name| (*name).to_owned()));
        }
        let device = |name: String| Device {
            host_path: self.directory.join(&name),
            container_path: Some(format!("/dev/{name}")),
            permissions: "rw".to_owned(),
        };
        Ok(names.into_iter().map(device).collect())
    }
}

/// The number in the name of a GPU's device file.
fn number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("nvidia")?;
    digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok())?
}

/// What the driver says: UUIDs with their device files' numbers.
fn uuids(driver: &Path) -> Vec<(String, u32)> {
    let gpus = std::fs::read_dir(driver).into_iter().flatten().flatten();
    let texts = gpus.filter_map(|gpu| std::fs::read_to_string(gpu.path().join("information")).ok());
    let of = |text: &str, name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        Some(line.trim_start_matches(':').trim().to_owned())
    };
    let one = |text: String| {
        let uuid = of(&text, "GPU UUID").filter(|uuid| uuid.starts_with("GPU-"))?;
        Some((uuid, of(&text, "Device Minor")?.parse().ok()?))
    };
    texts.filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_files_are_found_and_given_out() {
        let directory = tempfile::tempdir().unwrap();
        let (dev, driver) = (directory.path().join("dev"), directory.path().join("driver"));
        std::fs::create_dir_all(&dev).unwrap();
        for name in ["nvidia10", "nvidia2", "nvidia", "nvidia-uvm", "nvidiactl", "nvidiax", "null"]
        {
            std::fs::write(dev.join(name), "").unwrap();
        }
        std::fs::create_dir_all(driver.join("0000:01:00.0")).unwrap();
        let information = "Model: \t\t X\nGPU UUID: \t GPU-12ab\nDevice Minor: \t 10\n";
        std::fs::write(driver.join("0000:01:00.0/information"), information).unwrap();
        let gpus = Gpus::find_by(&dev, &driver);
        assert_eq!(gpus.ids().collect::<Vec<_>>(), ["2", "GPU-12ab"]);
        let given = gpus.devices(&["GPU-12ab".to_owned()]).unwrap();
        let inside: Vec<_> = given.iter().filter_map(|d| d.container_path.as_deref()).collect();
        assert_eq!(inside, ["/dev/nvidia10", "/dev/nvidiactl", "/dev/nvidia-uvm"]);
        assert_eq!(given[0].host_path, dev.join("nvidia10"));
        assert!(gpus.devices(&[]).unwrap().is_empty());
        assert!(gpus.devices(&["7".to_owned()]).is_err());
        assert_eq!(Gpus::find_by(Path::new("/nowhere"), &driver).ids().count(), 0);
    }
}
