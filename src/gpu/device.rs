//! [`Gpu`]: an adapter, its device and queue, its compiled kernels, and what went wrong on it.

use super::adapter::{self, AdapterChoice};
use super::kernel::{Kernel, KernelKey};
use super::pipelines::PipelineCache;
use super::storage::Storage;
use super::tuning::{self, Tuning};
use crate::error::{Error, Result};
use crate::talk::Talk;
use rayon::prelude::*;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// An opened device. Cheap to share by reference; everything that computes takes a `&Gpu`.
pub struct Gpu {
    /// The adapter's name, type, backend, driver and subgroup sizes.
    pub info: wgpu::AdapterInfo,
    /// The limits in force: the adapter's own.
    pub limits: wgpu::Limits,
    /// The optional features that are switched on (subgroups, timestamps, 64-bit integers, f16, pipeline cache).
    pub features: wgpu::Features,
    /// The row of the tuning table in force.
    pub tuning: Tuning,
    /// In which type plans keep activations.
    pub(crate) storage: Storage,
    /// Shader modules with bounds checks and loop bounds (tests) or without (release).
    pub checked: bool,
    /// Whether plans give every value memory of its own, between guard bands, for [`crate::Plan::check_guards`].
    pub guards: bool,
    /// When dispatches and submits are cut.
    pub cutting: Cutting,
    /// Bytes that a plan may use in all; `None` where neither the user nor the system tells.
    pub memory_budget: Option<u64>,
    pub(crate) device: wgpu::Device,
    pub(crate) queue: wgpu::Queue,
    pub(crate) pipeline_cache: Option<PipelineCache>,
    kernels: Mutex<HashMap<KernelKey, Arc<Kernel>>>,
    created: AtomicU64,
    fault: Arc<Mutex<Option<Fault>>>,
}

/// How to open a [`Gpu`].
#[derive(Clone, Debug, Default)]
pub struct GpuOptions {
    /// Which adapter.
    pub adapter: AdapterChoice,
    /// Checked shader modules; `None`: `RADIOGRAD_CHECKED=1`, else checked in debug builds only.
    pub checked: Option<bool>,
    /// Bytes a plan may use; `None`: on a software adapter what the machine has available, else what the driver refuses.
    pub memory: Option<u64>,
    /// A row of the tuning table by name instead of the adapter's own (tests run every row on one adapter).
    pub tuning: Option<String>,
    /// Guard bands around every activation and no shared memory, for tests.
    pub guards: bool,
    /// When dispatches and submits are cut.
    pub cutting: Cutting,
    /// Root of the caches ([`crate::data::cache::root`]): compiled pipelines are kept below it for the next start, where backend
    /// and driver have something to keep. None keeps nothing on disk.
    pub cache: Option<PathBuf>,
}

/// When work is cut in pieces: drivers' watchdogs reset a GPU after about a second or two, and a desktop stutters long
/// before. Times are estimates from the tuning row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cutting {
    /// A dispatch longer than this many milliseconds is cut in pieces.
    pub dispatch_ms: f64,
    /// A submit longer than this many milliseconds is ended.
    pub submit_ms: f64,
    /// At most so many workgroups in one dimension, or what the adapter allows if that is less.
    pub groups: u32,
    /// At most so many bytes of a buffer in one binding, or what the adapter allows if that is less; larger tensors are
    /// worked on in pieces.
    pub binding: u64,
}

impl Default for Cutting {
    fn default() -> Cutting {
        Cutting { dispatch_ms: 50.0, submit_ms: 400.0, groups: u32::MAX, binding: u64::MAX }
    }
}

#[derive(Clone, Debug)]
enum Fault {
    Memory(String),
    Lost(String),
    Internal(String),
}

impl Gpu {
    /// Opens the default adapter with default options; blocks.
    ///
    /// # Errors
    /// See [`Gpu::open`].
    pub fn new() -> Result<Gpu> {
        pollster::block_on(Gpu::open(&GpuOptions::default()))
    }

    /// [`Gpu::open`], blocking.
    ///
    /// # Errors
    /// See [`Gpu::open`].
    pub fn with(options: &GpuOptions) -> Result<Gpu> {
        pollster::block_on(Gpu::open(options))
    }

    /// Opens an adapter with its own limits and the optional features that kernels can use.
    ///
    /// # Errors
    /// [`Error::NoAdapter`] when nothing matches (the message lists what there is) or the device cannot be opened.
    pub async fn open(options: &GpuOptions) -> Result<Gpu> {
        let instance = adapter::instance();
        let adapter = adapter::select(&instance, &options.adapter).await?;
        let (info, limits) = (adapter.get_info(), adapter.limits());
        let useful = wgpu::Features::SUBGROUP
            | wgpu::Features::TIMESTAMP_QUERY
            | wgpu::Features::SHADER_INT64
            | wgpu::Features::SHADER_F16
            | wgpu::Features::PIPELINE_CACHE;
        let features = adapter.features() & useful;
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("radiograd"),
            required_features: features,
            required_limits: limits.clone(),
            experimental_features: wgpu::ExperimentalFeatures::disabled(),
            memory_hints: wgpu::MemoryHints::Performance,
            trace: wgpu::Trace::Off,
        };
        let (device, queue) = adapter
            .request_device(&descriptor)
            .await
            .map_err(|e| Error::NoAdapter(format!("{}: the device cannot be opened: {e}", info.name)))?;
        let fault = Arc::new(Mutex::new(None));
        watch(&device, &fault);
        let tuning = match &options.tuning {
            Some(name) => tuning::named(name)?,
            None => tuning::for_adapter(&info, features),
        };
        let from_env = std::env::var("RADIOGRAD_CHECKED").ok().map(|v| v == "1");
        let memory_budget = options.memory.or_else(|| adapter::is_software(&info).then(available_memory).flatten());
        let pipeline_cache = options.cache.as_ref().and_then(|root| PipelineCache::open(&device, &info, root));
        let checked = options.checked.or(from_env).unwrap_or(cfg!(debug_assertions));
        Ok(Gpu {
            checked,
            guards: options.guards,
            cutting: options.cutting,
            memory_budget,
            info,
            limits,
            features,
            tuning,
            storage: Storage::F32,
            device,
            queue,
            pipeline_cache,
            kernels: Mutex::new(HashMap::new()),
            created: AtomicU64::new(0),
            fault,
        })
    }

    /// The adapter in one line: name, type, backend, driver.
    pub fn describe(&self) -> String {
        let i = &self.info;
        format!("{} ({:?}, {:?}, {} {})", i.name, i.device_type, i.backend, i.driver, i.driver_info)
    }

    /// Says which adapter it is, what memory plans may use, and what compiled pipelines were found, where details are wanted.
    pub fn introduce(&self, talk: Talk) {
        talk.detail(|| format!("adapter: {}", self.describe()));
        let budget = self.memory_budget.map_or_else(|| "as the driver gives".into(), crate::plan::bytes);
        talk.detail(|| format!("memory for plans: {budget}"));
        let kept = self.pipeline_cache.as_ref().map_or_else(|| "not kept here".into(), PipelineCache::describe);
        talk.detail(|| format!("compiled pipelines: {kept}"));
    }

    /// Words of a buffer that one binding holds.
    pub fn binding_words(&self) -> usize {
        (self.limits.max_storage_buffer_binding_size.min(self.cutting.binding) / 4) as usize
    }

    /// Whether kernels run on the CPU (lavapipe and its like).
    pub fn is_software(&self) -> bool {
        adapter::is_software(&self.info)
    }

    /// The compiled kernel for `key`, made on first use.
    ///
    /// # Errors
    /// [`Error::Internal`] with the kernel's name and the compiler's words: a kernel that does not compile stops the program.
    pub(crate) fn kernel(&self, key: KernelKey) -> Result<Arc<Kernel>> {
        if let Some(k) = lock(&self.kernels).get(&key) {
            return Ok(k.clone());
        }
        let kernel = Arc::new(Kernel::compile(self, &key)?);
        self.count_created();
        self.check()?;
        lock(&self.kernels).insert(key, kernel.clone());
        Ok(kernel)
    }

    /// Makes those kernels of `keys` that are not there, side by side, if the row of the tuning table says so. Otherwise
    /// [`Gpu::kernel`] makes each when it is asked for.
    ///
    /// # Errors
    /// As [`Gpu::kernel`], for the first that fails.
    pub(crate) fn prepare<'k>(&self, keys: impl Iterator<Item = &'k KernelKey>) -> Result<()> {
        if !self.tuning.parallel_pipelines {
            return Ok(());
        }
        let mut seen = HashSet::new();
        let missing: Vec<&KernelKey> = {
            let there = lock(&self.kernels);
            keys.filter(|k| !there.contains_key(*k) && seen.insert(*k)).collect()
        };
        let made: Vec<Result<Kernel>> = missing.par_iter().map(|k| Kernel::compile(self, k)).collect();
        for (key, kernel) in missing.into_iter().zip(made) {
            let kernel = Arc::new(kernel?);
            self.count_created();
            lock(&self.kernels).insert(key.clone(), kernel);
        }
        self.check()
    }

    /// Keeps the pipelines that were compiled so far on disk, where that is asked for.
    pub(crate) fn keep_pipelines(&self) {
        if let Some(cache) = &self.pipeline_cache {
            cache.keep_or_say();
        }
    }

    /// Buffers, bind groups and pipelines made so far: a step of a plan makes none.
    pub fn objects_created(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
    }

    pub(crate) fn count_created(&self) {
        self.created.fetch_add(1, Ordering::Relaxed);
    }

    /// How many pipelines were compiled so far.
    pub fn pipelines(&self) -> usize {
        lock(&self.kernels).len()
    }

    /// A buffer of `bytes` (rounded up to 4), zeroed by WebGPU's rules.
    ///
    /// # Errors
    /// [`Error::Memory`] when it exceeds the adapter's largest buffer or the device has no room.
    pub(crate) fn buffer(&self, label: &str, bytes: u64, usage: wgpu::BufferUsages) -> Result<wgpu::Buffer> {
        let size = bytes.next_multiple_of(4).max(4);
        if size > self.limits.max_buffer_size {
            let limit = self.limits.max_buffer_size;
            return Err(Error::Memory(format!(
                "{label}: {size} bytes needed, {} allows {limit} a buffer",
                self.info.name
            )));
        }
        let d = wgpu::BufferDescriptor { label: Some(label), size, usage, mapped_at_creation: false };
        // A device that has no room for this one goes on with those it has: nothing is lost yet.
        let scope = self.device.push_error_scope(wgpu::ErrorFilter::OutOfMemory);
        let buffer = self.device.create_buffer(&d);
        if let Some(e) = pollster::block_on(scope.pop()) {
            // A lost device has no room either.
            self.check()?;
            return Err(Error::Memory(format!("{label}: {size} bytes, {} has no room: {e}", self.info.name)));
        }
        self.count_created();
        self.check()?;
        Ok(buffer)
    }

    /// Waits until everything submitted is done.
    ///
    /// # Errors
    /// [`Error::DeviceLost`], [`Error::Memory`] or [`Error::Internal`] as the device reported.
    pub fn wait(&self) -> Result<()> {
        self.wait_for(None)
    }

    pub(crate) fn wait_for(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<()> {
        let polled = self.device.poll(wgpu::PollType::Wait { submission_index: submission, timeout: None });
        self.check()?;
        polled.map(|_| ()).map_err(|e| {
            // The device's own word may come later: what is asked of it until then fails for this reason, too.
            let lost = format!("waiting failed: {e}");
            lock(&self.fault).get_or_insert(Fault::Lost(lost.clone()));
            Error::DeviceLost(format!("{}: {lost}", self.info.name))
        })
    }

    /// Gives the device up: what still runs on it, and all that comes later, ends with [`Error::DeviceLost`], as if the driver
    /// had reset it. For hosts that need the GPU back, and to see what a program makes of a loss.
    pub fn destroy(&self) {
        self.device.destroy();
    }

    /// `e`, or the loss of the device, from which it follows.
    pub(crate) fn cause(&self, e: Error) -> Error {
        match self.check() {
            Err(lost @ Error::DeviceLost(_)) => lost,
            _ => e,
        }
    }

    /// The error that the device reported since it was opened, if any.
    ///
    /// # Errors
    /// As reported: out of memory, lost, or a validation error, which is a bug of this program.
    pub fn check(&self) -> Result<()> {
        let name = &self.info.name;
        match &*lock(&self.fault) {
            None => Ok(()),
            Some(Fault::Memory(m)) => Err(Error::Memory(format!("{name} is out of memory: {m}"))),
            Some(Fault::Lost(m)) => Err(Error::DeviceLost(format!("{name} was lost: {m}"))),
            Some(Fault::Internal(m)) => Err(Error::Internal(format!("{name}: {m}"))),
        }
    }

    /// The bytes of `buffer` from `offset`, read back; waits.
    ///
    /// # Errors
    /// As [`Gpu::wait`].
    pub(crate) fn download(&self, buffer: &wgpu::Buffer, offset: u64, bytes: u64) -> Result<Vec<u8>> {
        let usage = wgpu::BufferUsages::MAP_READ | wgpu::BufferUsages::COPY_DST;
        let staging = self.buffer("read back", bytes, usage)?;
        let mut e = self.device.create_command_encoder(&Default::default());
        e.copy_buffer_to_buffer(buffer, offset, &staging, 0, bytes);
        let index = self.queue.submit([e.finish()]);
        staging.slice(..).map_async(wgpu::MapMode::Read, |_| {});
        self.wait_for(Some(index))?;
        let view = staging.slice(..bytes).get_mapped_range().map_err(|e| Error::Internal(format!("read back: {e}")))?;
        Ok(view.to_vec())
    }
}

/// Locks even when another thread panicked while holding it: the maps behind are never left half-changed.
fn lock<T>(m: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    m.lock().unwrap_or_else(|e| e.into_inner())
}

/// Keeps the first error of `device` so that the next call reports it instead of wgpu's panic. A loss replaces errors that
/// are only what follows from it.
fn watch(device: &wgpu::Device, fault: &Arc<Mutex<Option<Fault>>>) {
    let (errors, lost) = (fault.clone(), fault.clone());
    device.on_uncaptured_error(Arc::new(move |e: wgpu::Error| {
        lock(&errors).get_or_insert(match e {
            wgpu::Error::OutOfMemory { source } => Fault::Memory(source.to_string()),
            other => Fault::Internal(other.to_string()),
        });
    }));
    device.set_device_lost_callback(move |reason, message| {
        *lock(&lost) =
            Some(Fault::Lost(format!("{reason:?}, {}", if message.is_empty() { "no reason given" } else { &message })));
    });
}

/// What the machine has free, from `/proc/meminfo`; `None` where there is no such file.
fn available_memory() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find(|l| l.starts_with("MemAvailable:"))?;
    line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib * 1024)
}
