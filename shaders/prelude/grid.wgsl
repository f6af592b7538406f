// The linear workgroup index. The host lays a grid of grid_count groups out in two dimensions (65,535 is the limit of
// one) and cuts long dispatches into pieces (watchdogs): grid_first is the first group of this piece.
fn grid_group(wg: vec3<u32>) -> u32 {
    return p.grid_first + wg.x + wg.y * p.grid_width;
}
