//! From a shader file to a pipeline: preprocessor → naga → reflection → wgpu.
//!
//! The binding rule is read off the module, not written down twice: `@group(0) @binding(0) var<uniform> p: Params`, then
//! inputs (`read` or a texture), then outputs (`read_write`). `Params` is written field by field *by name*, so there is no Rust mirror
//! of it that could drift.

use super::device::Gpu;
use super::half;
use super::wgsl::{self, Source};
use crate::error::{Error, Result};

/// What makes a pipeline: a file, an entry point and the values of its `#param`s.
#[derive(Clone, Debug)]
pub struct KernelKey {
    /// The shader file.
    pub source: Source,
    /// The kernel's name.
    pub entry: &'static str,
    /// Values of the file's `#param`s that differ from their defaults.
    pub params: Vec<(&'static str, i64)>,
    /// Bindings that hold f16 instead of f32 (bit `b`: binding `b`), see `half.rs`.
    pub half: u32,
}

impl PartialEq for KernelKey {
    fn eq(&self, o: &Self) -> bool {
        self.source.file == o.source.file && self.entry == o.entry && self.params == o.params && self.half == o.half
    }
}

impl Eq for KernelKey {}

impl std::hash::Hash for KernelKey {
    fn hash<H: std::hash::Hasher>(&self, h: &mut H) {
        (self.source.file, self.entry, &self.params, self.half).hash(h);
    }
}

/// A 32-bit field of `Params`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Word {
    /// `u32`
    U(u32),
    /// `i32`
    I(i32),
    /// `f32`
    F(f32),
}

impl From<usize> for Word {
    fn from(v: usize) -> Word {
        Word::U(u32::try_from(v).expect("a kernel parameter fits in 32 bits"))
    }
}

impl From<u32> for Word {
    fn from(v: u32) -> Word {
        Word::U(v)
    }
}

impl From<i32> for Word {
    fn from(v: i32) -> Word {
        Word::I(v)
    }
}

impl From<f32> for Word {
    fn from(v: f32) -> Word {
        Word::F(v)
    }
}

/// One field of the kernel's `Params`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Field {
    /// Its name in WGSL.
    pub name: String,
    /// Byte offset.
    pub offset: usize,
    /// `u32`, `i32` or `f32`.
    pub kind: naga::ScalarKind,
}

/// What the module says of itself.
#[derive(Clone, Debug)]
pub struct Reflection {
    /// The fields of `Params`, in order.
    pub fields: Vec<Field>,
    /// Bytes of `Params`.
    pub size: usize,
    /// For each binding 1, 2, …: whether the kernel writes it.
    pub writes: Vec<bool>,
    /// For each binding 1, 2, …: whether it is read as a texture of [`TEXEL_ROW`] quads a row (`prelude/texel.wgsl`).
    pub textures: Vec<bool>,
    /// The workgroup size.
    pub workgroup: [u32; 3],
}

/// Quads in a row of a texture that stands for a buffer. Eight thousand rows are in WebGPU's default limits.
pub const TEXEL_ROW: usize = 2048;

/// The most quads that such a texture holds on every adapter.
pub const MOST_TEXELS: usize = TEXEL_ROW * 8192;

/// A compiled kernel.
pub struct Kernel {
    pub(crate) pipeline: wgpu::ComputePipeline,
    pub(crate) layout: wgpu::BindGroupLayout,
}

/// The files of `shaders/prelude/` by name.
pub fn prelude(name: &str) -> Option<&'static str> {
    macro_rules! files {
        ($($n:literal),* $(,)?) => { match name { $($n => Some(include_str!(concat!("../../shaders/prelude/", $n, ".wgsl"))),)* _ => None } };
    }
    files!(
        "cell",
        "conv_gather_subgroup",
        "conv_gather_tile",
        "conv_outer_subgroup",
        "conv_outer_tile",
        "conv_params",
        "elementwise",
        "grid",
        "normal",
        "philox",
        "pixels",
        "quad",
        "texel",
        "workgroup_sum",
    )
}

/// Expands, parses and reflects a kernel; needs no GPU.
///
/// # Errors
/// [`Error::Internal`] naming the file and line, or what breaks the binding rule.
pub fn parse(key: &KernelKey) -> Result<(naga::Module, Reflection)> {
    let fail = |m: String| Error::Internal(format!("kernel {}: {m}", key.entry));
    let text = wgsl::expand(key.source, key.entry, &key.params, &prelude).map_err(fail)?;
    let mut module = naga::front::wgsl::parse_str(&text)
        .map_err(|e| fail(format!("{}\n{}", key.source.file, e.emit_to_string(&text))))?;
    if key.half != 0 {
        half::narrow(&mut module, key.half).map_err(fail)?;
    }
    let reflection = reflect(&module, key.entry).map_err(fail)?;
    Ok((module, reflection))
}

fn reflect(module: &naga::Module, entry: &str) -> Result<Reflection, String> {
    use naga::{AddressSpace as Space, StorageAccess, TypeInner};
    let point = module.entry_points.iter().find(|e| e.name == entry).ok_or("the file has no such entry point")?;
    if module.entry_points.len() != 1 {
        return Err("the expanded module holds more than one entry point".into());
    }
    let (mut params, mut storage) = (None, Vec::new());
    for (_, v) in module.global_variables.iter() {
        let Some(b) = v.binding else { continue };
        let name = v.name.as_deref().unwrap_or("?");
        if b.group != 0 {
            return Err(format!("{name} is in group {}, only group 0 is used", b.group));
        }
        match v.space {
            Space::Uniform if b.binding == 0 => params = Some(v.ty),
            Space::Storage { access } if b.binding > 0 => {
                storage.push((b.binding, access.contains(StorageAccess::STORE), false))
            }
            Space::Handle if b.binding > 0 && is_texture(&module.types[v.ty].inner) => {
                storage.push((b.binding, false, true))
            }
            _ => {
                return Err(format!(
                    "{name}: binding 0 is the uniform Params, 1 and up are storage or texture_2d<f32>"
                ));
            }
        }
    }
    storage.sort_unstable();
    if storage.iter().enumerate().any(|(i, (b, ..))| *b as usize != i + 1) {
        return Err(format!("bindings are not 1, 2, 3, …: {storage:?}"));
    }
    let writes: Vec<bool> = storage.iter().map(|s| s.1).collect();
    let textures = storage.iter().map(|s| s.2).collect();
    if writes.windows(2).any(|w| w[0] && !w[1]) {
        return Err("inputs come before outputs".into());
    }
    if writes.len() > 8 {
        return Err(format!("{} storage buffers, WebGPU allows 8", writes.len()));
    }
    let TypeInner::Struct { members, span } = &module.types[params.ok_or("no uniform Params at binding 0")?].inner
    else {
        return Err("Params is no struct".into());
    };
    let mut fields = Vec::new();
    for m in members {
        let name = m.name.clone().unwrap_or_default();
        let TypeInner::Scalar(s) = module.types[m.ty].inner else {
            return Err(format!("Params.{name} is no scalar"));
        };
        fields.push(Field { name, offset: m.offset as usize, kind: s.kind });
    }
    if fields.iter().take(3).map(|f| f.name.as_str()).ne(["grid_first", "grid_width", "grid_count"]) {
        return Err("Params begins with grid_first, grid_width, grid_count".into());
    }
    Ok(Reflection { fields, size: *span as usize, writes, textures, workgroup: point.workgroup_size })
}

/// `texture_2d<f32>`.
fn is_texture(t: &naga::TypeInner) -> bool {
    let class = naga::ImageClass::Sampled { kind: naga::ScalarKind::Float, multi: false };
    *t == naga::TypeInner::Image { dim: naga::ImageDimension::D2, arrayed: false, class }
}

impl Reflection {
    /// The bytes of `Params` for these named values.
    ///
    /// # Errors
    /// A field that is missing, unknown, given twice or of another type: a bug of the caller, found by every test.
    pub fn write(&self, values: &[(&str, Word)]) -> Result<Vec<u8>, String> {
        let mut bytes = vec![0u8; self.size];
        for f in &self.fields {
            let mut given = values.iter().filter(|(n, _)| *n == f.name);
            let (Some((_, word)), None) = (given.next(), given.next()) else {
                return Err(format!("Params.{} must be given once", f.name));
            };
            let raw = match (word, f.kind) {
                (Word::U(v), naga::ScalarKind::Uint) => v.to_le_bytes(),
                (Word::I(v), naga::ScalarKind::Sint) => v.to_le_bytes(),
                (Word::F(v), naga::ScalarKind::Float) => v.to_le_bytes(),
                _ => return Err(format!("Params.{} is {:?}, given was {word:?}", f.name, f.kind)),
            };
            bytes[f.offset..f.offset + 4].copy_from_slice(&raw);
        }
        match values.iter().find(|(n, _)| !self.fields.iter().any(|f| f.name == *n)) {
            Some((n, _)) => Err(format!("Params has no field {n}")),
            None => Ok(bytes),
        }
    }
}

impl Kernel {
    /// Builds the pipeline of `key` on `gpu`.
    pub(crate) fn compile(gpu: &Gpu, key: &KernelKey) -> Result<Kernel> {
        let (module, reflection) = parse(key)?;
        let limit = gpu.limits.max_compute_invocations_per_workgroup;
        if reflection.workgroup.iter().product::<u32>() > limit {
            let (e, w) = (key.entry, reflection.workgroup);
            return Err(Error::Internal(format!("kernel {e}: workgroup {w:?}, {} allows {limit}", gpu.info.name)));
        }
        let d = &gpu.device;
        let descriptor = wgpu::ShaderModuleDescriptor {
            label: Some(key.entry),
            source: wgpu::ShaderSource::Naga(std::borrow::Cow::Owned(module)),
        };
        let shader = if gpu.checked {
            d.create_shader_module(descriptor)
        } else {
            // SAFETY: every kernel is tested with guard bands around its buffers against the checked module, all its
            // loops are counted, and `Plan::compile` asserts sizes and divisors.
            unsafe { d.create_shader_module_trusted(descriptor, wgpu::ShaderRuntimeChecks::unchecked()) }
        };
        let entry = |binding: u32, ty| wgpu::BindGroupLayoutEntry {
            binding,
            visibility: wgpu::ShaderStages::COMPUTE,
            ty,
            count: None,
        };
        let buffer = |ty| wgpu::BindingType::Buffer { ty, has_dynamic_offset: false, min_binding_size: None };
        let texture = wgpu::BindingType::Texture {
            sample_type: wgpu::TextureSampleType::Float { filterable: false },
            view_dimension: wgpu::TextureViewDimension::D2,
            multisampled: false,
        };
        let mut entries = vec![entry(0, buffer(wgpu::BufferBindingType::Uniform))];
        for (i, (w, t)) in reflection.writes.iter().zip(&reflection.textures).enumerate() {
            let ty = if *t { texture } else { buffer(wgpu::BufferBindingType::Storage { read_only: !w }) };
            entries.push(entry(i as u32 + 1, ty));
        }
        let layout =
            d.create_bind_group_layout(&wgpu::BindGroupLayoutDescriptor { label: Some(key.entry), entries: &entries });
        let pipeline_layout = d.create_pipeline_layout(&wgpu::PipelineLayoutDescriptor {
            label: Some(key.entry),
            bind_group_layouts: &[Some(&layout)],
            immediate_size: 0,
        });
        let pipeline = d.create_compute_pipeline(&wgpu::ComputePipelineDescriptor {
            label: Some(key.entry),
            layout: Some(&pipeline_layout),
            module: &shader,
            entry_point: Some(key.entry),
            compilation_options: wgpu::PipelineCompilationOptions {
                zero_initialize_workgroup_memory: gpu.checked,
                ..Default::default()
            },
            cache: gpu.pipeline_cache.as_ref().map(|c| &c.cache),
        });
        Ok(Kernel { pipeline, layout })
    }
}
