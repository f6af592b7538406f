// Kernels over the pixels of an N H W C image: a workgroup of 64 threads owns 2^lane_bits quads of channels
// of 64 >> lane_bits columns, `repeat` times, of one row of one image. Both are fields, not baked: each network would bring several
// pipelines of each kernel, and a driver that unrolls a known number of repeats takes a second for one. A division costs
// software Vulkan some 200 cycles a subgroup, so the group is decoded once and the repeats share it.
// Params MUST have: images_rows (N * rows), rows, columns, column_blocks, channel_quads, channel_blocks, lane_bits, repeat.
#import grid
struct Spot { image: u32, row: u32, column: u32, quad: u32 }
fn spot(wg: vec3<u32>, l: vec3<u32>) -> Spot {
    let group = grid_group(wg);
    let blocks = p.column_blocks * p.channel_blocks;
    let image_row = group / blocks;
    let block = group - image_row * blocks;
    let channel_block = block / p.column_blocks;
    let column_block = block - channel_block * p.column_blocks;
    let image = image_row / p.rows;
    return Spot(
        image,
        image_row - image * p.rows,
        column_block * ((64u >> p.lane_bits) * p.repeat) + (l.x >> p.lane_bits),
        (channel_block << p.lane_bits) + (l.x & ((1u << p.lane_bits) - 1u)),
    );
}
