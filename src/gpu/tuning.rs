//! Device-specific choices, all of them, as one visible table. The numbers come from sweeps of `cargo bench` and carry
//! date and adapter; tests run every row on whatever adapter there is.

use crate::error::{Error, Result};

/// Which register tile the GEMM core uses; see `shaders/conv.wgsl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    /// One subgroup of 8 lanes, values spread by `subgroupBroadcast`, no workgroup memory.
    Subgroup {
        /// Channels of the register tile of forward and input gradient: 16 or 32.
        rows: u32,
        /// Pixels a lane, likewise.
        pixels: u32,
        /// Filter elements of the register tile of the filter gradient.
        weight_rows: u32,
        /// Loads as pairs of 64-bit integers instead of `vec4<f32>`.
        load64: bool,
        /// The two operands of the product as textures, which the plan fills by copying (`shaders/prelude/texel.wgsl`).
        texels: bool,
    },
    /// Workgroup memory with register blocking: `bm` × `bn` outputs a workgroup, `tm` × `tn` a thread, `bk` deep.
    Workgroup {
        /// Rows a workgroup.
        bm: u32,
        /// Columns a workgroup.
        bn: u32,
        /// Depth of a slab in workgroup memory.
        bk: u32,
        /// Rows a thread.
        tm: u32,
        /// Columns a thread.
        tn: u32,
    },
}

/// One row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tuning {
    /// The row's name.
    pub name: &'static str,
    /// The GEMM core.
    pub core: Core,
    /// Workgroups that fill the machine: a reduction is split until a kernel has about this many.
    pub fill: u32,
    /// GFLOP/s that GEMM-like kernels reach, to estimate a dispatch's time (for watchdogs only).
    pub gflops: f64,
    /// GB/s that streaming kernels reach, likewise.
    pub gbytes: f64,
    /// Whether the pipelines of a plan are made side by side. Software Vulkan compiles a pipeline when it is first used, in
    /// turn, and makes it in no time.
    pub parallel_pipelines: bool,
}

/// The table. `cpu-8`: lavapipe of Mesa 25.0.7, 2 cores of an AMD Zen 3, 2026-11-21; `cpu-8-texels`: the same with Mesa 22.3.6,
/// where texels load 2.7 times as fast as buffers (with 25.0.7 they load 1.25 times as slow); `cpu-8-f32` is for a driver
/// without 64-bit integers. The rows for hardware GPUs
/// are starting points from the literature on blocked SGEMM, tested for correctness only: no GPU was at hand.
pub const TABLE: &[Tuning] = &[
    Tuning {
        name: "cpu-8",
        core: Core::Subgroup { rows: 32, pixels: 4, weight_rows: 32, load64: true, texels: false },
        fill: 32,
        gflops: 30.0,
        gbytes: 8.0,
        parallel_pipelines: false,
    },
    Tuning {
        name: "cpu-8-texels",
        core: Core::Subgroup { rows: 32, pixels: 4, weight_rows: 32, load64: true, texels: true },
        fill: 32,
        gflops: 20.0,
        gbytes: 3.0,
        parallel_pipelines: false,
    },
    Tuning {
        name: "cpu-8-f32",
        core: Core::Subgroup { rows: 32, pixels: 4, weight_rows: 32, load64: false, texels: false },
        fill: 32,
        gflops: 30.0,
        gbytes: 8.0,
        parallel_pipelines: false,
    },
    Tuning {
        name: "discrete",
        core: Core::Workgroup { bm: 128, bn: 64, bk: 16, tm: 8, tn: 4 },
        fill: 256,
        gflops: 4000.0,
        gbytes: 200.0,
        parallel_pipelines: true,
    },
    Tuning {
        name: "integrated",
        core: Core::Workgroup { bm: 64, bn: 64, bk: 16, tm: 4, tn: 4 },
        fill: 64,
        gflops: 200.0,
        gbytes: 20.0,
        parallel_pipelines: true,
    },
];

impl Tuning {
    /// Whether streaming kernels move eight numbers at once, as 64-bit integers (`shaders/prelude/cell.wgsl`).
    pub fn wide(&self) -> bool {
        matches!(self.core, Core::Subgroup { load64: true, .. })
    }
}

/// The row of this name.
///
/// # Errors
/// [`Error::Usage`] with the names there are.
pub fn named(name: &str) -> Result<Tuning> {
    TABLE.iter().find(|t| t.name == name).copied().ok_or_else(|| {
        let names: Vec<_> = TABLE.iter().map(|t| t.name).collect();
        Error::Usage(format!("no tuning row '{name}'; there is {}", names.join(", ")))
    })
}

/// The row for an adapter: the subgroup core where subgroups are exactly 8 wide, else workgroup tiles.
pub fn for_adapter(info: &wgpu::AdapterInfo, features: wgpu::Features) -> Tuning {
    let fixed8 =
        info.subgroup_min_size == 8 && info.subgroup_max_size == 8 && features.contains(wgpu::Features::SUBGROUP);
    let row = match info.device_type {
        wgpu::DeviceType::Cpu if fixed8 && slow_loads(info) && features.contains(wgpu::Features::SHADER_INT64) => {
            "cpu-8-texels"
        }
        wgpu::DeviceType::Cpu if fixed8 && features.contains(wgpu::Features::SHADER_INT64) => "cpu-8",
        wgpu::DeviceType::Cpu if fixed8 => "cpu-8-f32",
        wgpu::DeviceType::DiscreteGpu => "discrete",
        _ => "integrated",
    };
    TABLE.iter().find(|t| t.name == row).copied().unwrap_or(TABLE[0])
}

/// Whether this is a lavapipe that loads from buffers lane by lane: Mesa 22 and before. 23 and 24 were not measured.
fn slow_loads(info: &wgpu::AdapterInfo) -> bool {
    let major = info.driver_info.strip_prefix("Mesa ").and_then(|v| v.split('.').next()?.parse::<u32>().ok());
    info.driver == "llvmpipe" && major.is_some_and(|m| m <= 22)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_software_drivers_read_textures() {
        let all = wgpu::Features::SUBGROUP | wgpu::Features::SHADER_INT64;
        let row = |driver: &str, version: &str, kind| {
            let mut i = wgpu::AdapterInfo::new(kind, wgpu::Backend::Vulkan);
            (i.driver, i.driver_info) = (driver.into(), version.into());
            (i.subgroup_min_size, i.subgroup_max_size) = (8, 8);
            for_adapter(&i, all).name
        };
        let cpu = wgpu::DeviceType::Cpu;
        assert_eq!(row("llvmpipe", "Mesa 22.3.6 (LLVM 15.0.6)", cpu), "cpu-8-texels");
        assert_eq!(row("llvmpipe", "Mesa 25.0.7-2~bpo12+1 (LLVM 15.0.6)", cpu), "cpu-8");
        assert_eq!(row("llvmpipe", "unknown", cpu), "cpu-8");
        assert_eq!(row("radv", "Mesa 22.3.6", wgpu::DeviceType::DiscreteGpu), "discrete");
    }
}
