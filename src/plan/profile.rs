//! Profiling: another loop over the same list, one timed pass a dispatch.

use super::Plan;
use crate::error::{Error, Result};
use crate::gpu::Gpu;

/// Device time of one dispatch.
#[derive(Clone, Debug)]
pub struct Timing {
    /// Index in the plan's listing.
    pub step: usize,
    /// Nanoseconds on the device.
    pub nanoseconds: f64,
}

impl Plan {
    /// Runs the plan once with a timestamp before and after each dispatch. Inputs keep their last content; an optimizer
    /// at the end of the plan does update the weights, and running statistics are updated. Of an accumulating plan, the
    /// dispatches of a first and last replay.
    ///
    /// # Errors
    /// [`Error::Usage`] when the adapter has no timestamps; device errors.
    pub fn profile(&self, gpu: &Gpu) -> Result<Vec<Timing>> {
        if !gpu.features.contains(wgpu::Features::TIMESTAMP_QUERY) {
            return Err(Error::Usage(format!("{} has no timestamps, it cannot be profiled by kernel", gpu.info.name)));
        }
        let mut all = Vec::new();
        // Query sets hold at most 4096 queries.
        let run: Vec<_> = self.dispatches.iter().filter(|d| d.when.runs(0, 1)).collect();
        for chunk in run.chunks(1024) {
            let count = chunk.len() as u32 * 2;
            let queries = gpu.device.create_query_set(&wgpu::QuerySetDescriptor {
                label: Some("profile"),
                ty: wgpu::QueryType::Timestamp,
                count,
            });
            let usage = wgpu::BufferUsages::QUERY_RESOLVE | wgpu::BufferUsages::COPY_SRC;
            let resolved = gpu.buffer("timestamps", u64::from(count) * 8, usage)?;
            for (i, d) in chunk.iter().enumerate() {
                let mut e = gpu.device.create_command_encoder(&Default::default());
                // Copies into textures are not in the pass: they are not timed.
                d.fills.iter().for_each(|f| f.record(&mut e));
                let i = i as u32;
                let writes = wgpu::ComputePassTimestampWrites {
                    query_set: &queries,
                    beginning_of_pass_write_index: Some(2 * i),
                    end_of_pass_write_index: Some(2 * i + 1),
                };
                let descriptor = wgpu::ComputePassDescriptor { label: None, timestamp_writes: Some(writes) };
                {
                    let mut pass = e.begin_compute_pass(&descriptor);
                    pass.set_pipeline(&d.kernel.pipeline);
                    pass.set_bind_group(0, &d.bind_group, &[]);
                    pass.dispatch_workgroups(d.grid[0], d.grid[1], 1);
                }
                gpu.queue.submit([e.finish()]);
            }
            let mut e = gpu.device.create_command_encoder(&Default::default());
            e.resolve_query_set(&queries, 0..count, &resolved, 0);
            gpu.queue.submit([e.finish()]);
            let bytes = gpu.download(&resolved, 0, u64::from(count) * 8)?;
            let stamps: Vec<u64> = bytemuck::pod_collect_to_vec(&bytes);
            let period = f64::from(gpu.queue.get_timestamp_period());
            for (pair, d) in stamps.chunks(2).zip(chunk) {
                all.push(Timing { step: d.step, nanoseconds: pair[1].saturating_sub(pair[0]) as f64 * period });
            }
        }
        let mut e = gpu.device.create_command_encoder(&Default::default());
        self.encode_assigns(&mut e);
        gpu.queue.submit([e.finish()]);
        Ok(all)
    }

    /// The line of the plan's listing for a step: path, kernel, groups, cost.
    pub fn line(&self, step: usize) -> &str {
        self.listing.get(step).map_or("", String::as_str)
    }
}
