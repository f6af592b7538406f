//! Choosing an adapter: by index, name part or PCI address; never a silent change.

use crate::error::{Error, Result};

/// Which adapter to use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AdapterChoice {
    /// An index as `radiograd devices` prints it, a part of the name (any case) or a PCI address (`0000:01:00.0`).
    /// `None`: `RADIOGRAD_ADAPTER`, then `WGPU_ADAPTER_NAME`, then the best hardware adapter, then a software adapter.
    pub name: Option<String>,
}

impl AdapterChoice {
    /// The adapter with this index, name part or PCI address.
    pub fn named(name: impl Into<String>) -> Self {
        AdapterChoice { name: Some(name.into()) }
    }

    /// What the user asked for, and where: the choice itself, else `RADIOGRAD_ADAPTER`, else `WGPU_ADAPTER_NAME`.
    fn request(&self) -> Option<(String, &'static str)> {
        let set = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        self.name
            .clone()
            .map(|n| (n, "--adapter"))
            .or_else(|| set("RADIOGRAD_ADAPTER").map(|n| (n, "RADIOGRAD_ADAPTER")))
            .or_else(|| set("WGPU_ADAPTER_NAME").map(|n| (n, "WGPU_ADAPTER_NAME")))
    }
}

/// The instance for the backends of `WGPU_BACKEND`, else for all that this build has (Vulkan, Metal, DX12).
pub fn instance() -> wgpu::Instance {
    let mut d = wgpu::InstanceDescriptor::new_without_display_handle();
    if let Some(b) = wgpu::Backends::from_env() {
        d.backends = b;
    }
    // A release must not load validation layers because a debug build of a dependency asked for them.
    d.flags = wgpu::InstanceFlags::empty().with_env();
    // Near the end of the device's memory an allocation fails as an error instead of taking the device down.
    d.memory_budget_thresholds =
        wgpu::MemoryBudgetThresholds { for_resource_creation: Some(97), for_device_loss: None };
    wgpu::Instance::new(d)
}

/// All adapters, in the order of their indices.
pub async fn list(instance: &wgpu::Instance) -> Vec<wgpu::Adapter> {
    let mut all = instance.enumerate_adapters(wgpu::Backends::from_env().unwrap_or(wgpu::Backends::all())).await;
    all.retain(|a| a.get_downlevel_capabilities().flags.contains(wgpu::DownlevelFlags::COMPUTE_SHADERS));
    all
}

/// Whether this adapter computes on the CPU (lavapipe, WARP, SwiftShader).
pub fn is_software(info: &wgpu::AdapterInfo) -> bool {
    info.device_type == wgpu::DeviceType::Cpu
}

/// Picks the adapter that `choice` asks for.
///
/// # Errors
/// [`Error::NoAdapter`] with the list of what there is when nothing matches or when several match equally; with what to
/// install when there is none at all.
pub async fn select(instance: &wgpu::Instance, choice: &AdapterChoice) -> Result<wgpu::Adapter> {
    let mut all = list(instance).await;
    if all.is_empty() {
        return Err(Error::NoAdapter(
            "no Vulkan, Metal or DX12 adapter found. Without a GPU, software Vulkan works: on Debian or Ubuntu \
             `sudo apt-get install mesa-vulkan-drivers libvulkan1`, on Fedora `sudo dnf install mesa-vulkan-drivers vulkan-loader`, \
             on Arch `sudo pacman -S vulkan-swrast vulkan-icd-loader`."
                .into(),
        ));
    }
    let infos: Vec<_> = all.iter().map(|a| a.get_info()).collect();
    let index = pick(&infos, choice.request())?;
    if is_software(&infos[index]) && choice.request().is_none() {
        announce_software(&infos[index]);
    }
    Ok(all.swap_remove(index))
}

fn announce_software(info: &wgpu::AdapterInfo) {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        eprintln!("radiograd: no GPU found, computing on the CPU with {} ({})", info.name, info.driver_info)
    });
}

/// One line an adapter: index, name, type, backend, PCI address.
pub fn describe(index: usize, i: &wgpu::AdapterInfo) -> String {
    let pci = if i.device_pci_bus_id.is_empty() { String::new() } else { format!(", {}", i.device_pci_bus_id) };
    format!("{index}: {} ({:?}, {:?}{pci})", i.name, i.device_type, i.backend)
}

fn pick(infos: &[wgpu::AdapterInfo], request: Option<(String, &'static str)>) -> Result<usize> {
    use wgpu::DeviceType as T;
    let Some((want, origin)) = request else {
        let rank =
            |t: T| [T::DiscreteGpu, T::IntegratedGpu, T::VirtualGpu, T::Other, T::Cpu].iter().position(|x| *x == t);
        return (0..infos.len())
            .min_by_key(|i| (rank(infos[*i].device_type), *i))
            .ok_or_else(|| Error::NoAdapter("no adapter".into()));
    };
    let there = || infos.iter().enumerate().map(|(i, a)| describe(i, a)).collect::<Vec<_>>().join("\n  ");
    if let Ok(index) = want.parse::<usize>() {
        return if index < infos.len() {
            Ok(index)
        } else {
            Err(Error::NoAdapter(format!("{origin}: there is no adapter {index}. There is:\n  {}", there())))
        };
    }
    let low = want.to_lowercase();
    let hits: Vec<usize> = (0..infos.len())
        .filter(|i| infos[*i].device_pci_bus_id.to_lowercase() == low || infos[*i].name.to_lowercase().contains(&low))
        .collect();
    match hits[..] {
        [] => Err(Error::NoAdapter(format!("{origin}: no adapter matches '{want}'. There is:\n  {}", there()))),
        [one] => Ok(one),
        // The same device shown by two backends is one adapter to its owner; two devices of one name are not.
        [first, ..] if hits.iter().all(|i| infos[*i].device_pci_bus_id == infos[first].device_pci_bus_id) => Ok(first),
        _ => Err(Error::NoAdapter(format!(
            "{origin}: several adapters match '{want}': name one by its index or PCI address. There is:\n  {}",
            there()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn info(name: &str, kind: wgpu::DeviceType, pci: &str) -> wgpu::AdapterInfo {
        let mut i = wgpu::AdapterInfo::new(kind, wgpu::Backend::Vulkan);
        i.name = name.into();
        i.device_pci_bus_id = pci.into();
        i
    }

    #[test]
    fn hardware_comes_before_software_and_names_select() {
        use wgpu::DeviceType::*;
        let all = [
            info("llvmpipe", Cpu, ""),
            info("NVIDIA H200", DiscreteGpu, "0000:01:00.0"),
            info("NVIDIA H200", DiscreteGpu, "0000:02:00.0"),
        ];
        let ask = |s: &str| pick(&all, Some((s.into(), "--adapter")));
        assert_eq!(pick(&all, None).unwrap(), 1);
        assert_eq!(ask("LLVM").unwrap(), 0);
        assert_eq!(ask("2").unwrap(), 2);
        assert_eq!(ask("0000:02:00.0").unwrap(), 2);
        for (s, part) in
            [("h200", "several adapters match"), ("radeon", "no adapter matches"), ("7", "there is no adapter 7")]
        {
            let e = ask(s).unwrap_err();
            assert!(e.to_string().contains(part) && e.to_string().contains("llvmpipe"), "{e}");
            assert_eq!(e.exit_code(), 3);
        }
    }
}
