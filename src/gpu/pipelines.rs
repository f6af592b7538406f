//! Compiled pipelines on disk: what the driver makes of shaders, kept for the next start (`VkPipelineCache`).
//!
//! Drivers trust this data, so a file is used only if it is whole and was written on the same adapter, with the same driver and
//! version of this program. Not every driver puts anything in it: then nothing is written.

use crate::error::Result;
use crate::files::write_atomic;
use sha2::{Digest, Sha256};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

/// Begins every file.
const MAGIC: &[u8; 8] = b"RGPIPE01";

/// The pipelines of one device.
pub(crate) struct PipelineCache {
    pub(crate) cache: wgpu::PipelineCache,
    path: PathBuf,
    adapter: String,
    /// Bytes of pipelines that were found; `None`: no file that fits.
    found: Option<usize>,
    /// Digest of what is in the file, or of what the cache holds when nothing was compiled.
    last: Mutex<[u8; 32]>,
}

/// Which files fit: those of this adapter, driver and program.
fn describe(i: &wgpu::AdapterInfo) -> String {
    let version = env!("CARGO_PKG_VERSION");
    format!("{version} {} {} {} {} {} {:?}", i.vendor, i.device, i.name, i.driver, i.driver_info, i.backend)
}

/// The file of an adapter below the root of the caches; `None` where the backend has no such cache.
fn path(root: &Path, info: &wgpu::AdapterInfo, adapter: &str) -> Option<PathBuf> {
    let key = wgpu::util::pipeline_cache_key(info)?;
    let digest = crate::files::hex(&Sha256::digest(adapter)[..4]);
    Some(root.join("pipelines").join(format!("pipelines-{key}-{digest}.pack")))
}

fn encode(adapter: &str, data: &[u8]) -> Vec<u8> {
    [MAGIC.as_slice(), &digest(adapter, data), data].concat()
}

/// The data of a file, unless it is damaged or another adapter's.
fn decode<'b>(adapter: &str, bytes: &'b [u8]) -> Option<&'b [u8]> {
    let (sum, data) = bytes.strip_prefix(MAGIC)?.split_at_checked(32)?;
    (sum == digest(adapter, data)).then_some(data)
}

fn digest(adapter: &str, data: &[u8]) -> [u8; 32] {
    let mut h = Sha256::new();
    h.update((adapter.len() as u64).to_le_bytes());
    h.update(adapter);
    h.update(data);
    h.finalize().into()
}

impl PipelineCache {
    /// The pipelines kept below `root` for this adapter; none are where the file is missing, damaged or foreign. `None` where
    /// device or backend have no such cache.
    pub(crate) fn open(device: &wgpu::Device, info: &wgpu::AdapterInfo, root: &Path) -> Option<PipelineCache> {
        let adapter = describe(info);
        let path = path(root, info, &adapter).filter(|_| device.features().contains(wgpu::Features::PIPELINE_CACHE))?;
        let bytes = std::fs::read(&path).unwrap_or_default();
        let data = decode(&adapter, &bytes);
        // SAFETY: the digest says that these bytes are what `get_data` gave on this adapter and driver.
        let cache = unsafe {
            let label = Some("radiograd");
            device.create_pipeline_cache(&wgpu::PipelineCacheDescriptor { label, data, fallback: true })
        };
        let found = data.map(<[u8]>::len);
        let here = data.map(<[u8]>::to_vec).or_else(|| cache.get_data()).unwrap_or_default();
        let last = Mutex::new(digest(&adapter, &here));
        Some(PipelineCache { cache, path, adapter, found, last })
    }

    /// What was found, in words.
    pub(crate) fn describe(&self) -> String {
        let path = self.path.display();
        self.found
            .map_or_else(|| format!("none in {path}"), |n| format!("{} from {path}", crate::plan::bytes(n as u64)))
    }

    /// Writes what was compiled since, if the driver keeps anything of it; the bytes of the file.
    ///
    /// # Errors
    /// As [`write_atomic`].
    pub(crate) fn keep(&self) -> Result<Option<usize>> {
        let Some(data) = self.cache.get_data() else { return Ok(None) };
        let now = digest(&self.adapter, &data);
        let mut last = self.last.lock().unwrap_or_else(|e| e.into_inner());
        if *last == now {
            return Ok(None);
        }
        let bytes = encode(&self.adapter, &data);
        write_atomic(&self.path, &bytes)?;
        *last = now;
        Ok(Some(bytes.len()))
    }

    /// [`PipelineCache::keep`]; it is a cache: where it cannot be written nothing is lost but time.
    pub(crate) fn keep_or_say(&self) {
        if let Err(e) = self.keep() {
            eprintln!("radiograd: compiled pipelines are not kept: {e}");
        }
    }
}

impl Drop for PipelineCache {
    /// Drivers that compile when a pipeline is first used have something to keep only now.
    fn drop(&mut self) {
        self.keep_or_say();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gpu::{Gpu, GpuOptions};
    use crate::graph::{Graph, Shape};
    use crate::nn::{Layers, ParamStore};
    use crate::ops::Geometry;
    use crate::{Feed, Plan, PlanSpec};
    use std::rc::Rc;

    #[test]
    fn only_a_whole_file_of_this_adapter_is_used() {
        let file = encode("adapter 1", b"compiled");
        assert_eq!(decode("adapter 1", &file), Some(&b"compiled"[..]));
        assert_eq!(decode("adapter 2", &file), None);
        for at in 0..file.len() {
            let mut damaged = file.clone();
            damaged[at] ^= 1;
            assert_eq!(decode("adapter 1", &damaged), None, "byte {at}");
            assert_eq!(decode("adapter 1", &file[..at]), None, "cut at {at}");
        }
    }

    /// Class probabilities by a small network on `gpu`, and how many pipelines there are then.
    fn run(gpu: &Gpu) -> (Vec<Vec<f32>>, usize) {
        let graph = Graph::new();
        let x = graph.input("x", Shape::image(1, 1, 8, 8));
        let y = Layers::default().conv2d(x, "conv", 5, [3, 3], Geometry::same(3, 3)).relu().global_avg_pool();
        let outputs = vec![Layers::default().dense(y, "fc", 3).softmax()];
        let weights = Rc::new(ParamStore::init(&graph, 1).upload(gpu).unwrap());
        let spec = PlanSpec { outputs, ..Default::default() };
        let mut plan = Plan::compile(gpu, &graph, &weights, &spec).unwrap();
        let pixels: Vec<f32> = (0..64).map(|i| i as f32 / 64.0).collect();
        let p = plan.run(gpu, &[(x, Feed::F32(&pixels))]).unwrap();
        // All are there: another plan of it makes none.
        let made = gpu.pipelines();
        Plan::compile(gpu, &graph, &weights, &spec).unwrap();
        assert!(made >= 4 && gpu.pipelines() == made, "{made}");
        (p, made)
    }

    #[test]
    fn pipelines_made_side_by_side_compute_the_same() {
        let with = |parallel: bool| {
            // The row of a GPU, whatever adapter there is.
            let mut gpu = Gpu::with(&GpuOptions { tuning: Some("integrated".into()), ..Default::default() }).unwrap();
            assert!(gpu.tuning.parallel_pipelines);
            gpu.tuning.parallel_pipelines = parallel;
            run(&gpu)
        };
        assert_eq!(with(true), with(false));
    }

    #[test]
    fn a_file_is_written_where_the_driver_keeps_something_and_a_foreign_one_is_ignored() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Gpu::with(&GpuOptions { cache: Some(dir.path().into()), ..Default::default() }).unwrap();
        let gpu = open();
        let Some(cache) = &gpu.pipeline_cache else { return };
        let (path, adapter) = (cache.path.clone(), cache.adapter.clone());
        let size = || cache.cache.get_data().unwrap_or_default().len();
        let before = size();
        let first = run(&gpu);
        println!("{}: {before} bytes without pipelines, {} with {}", gpu.describe(), size(), first.1);
        let kept = size() > before;
        drop(gpu);
        assert_eq!(path.exists(), kept);
        if kept {
            assert!(decode(&adapter, &std::fs::read(&path).unwrap()).is_some());
        }
        assert_eq!(run(&open()), first);
        // What another adapter left, or half a file, is as good as none.
        for bytes in [encode("another adapter", &[7; 100]), MAGIC.to_vec(), vec![0; 1000]] {
            write_atomic(&path, &bytes).unwrap();
            assert_eq!(run(&open()), first);
            assert!(kept != (std::fs::read(&path).unwrap() == bytes), "replaced where there is something to keep");
        }
    }
}
