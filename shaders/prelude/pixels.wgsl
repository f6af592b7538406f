// Kernels over the pixels of an N H W C image: a workgroup of 64 threads owns LANES quads of channels (a power of two)
// of 64 / LANES columns, REPEAT times, of one row of one image. A division costs software Vulkan some 200 cycles a subgroup,
// so the group is decoded once and the repeats share it.
// Params MUST have: images_rows (N * rows), rows, columns, column_blocks, channel_quads, channel_blocks.
#import grid
#param LANES = 8
#param REPEAT = 4
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
        column_block * (64u / LANES * REPEAT) + l.x / LANES,
        channel_block * LANES + l.x % LANES,
    );
}
