// One geometry for all convolution kernels, in the letters of shaders/README.md. "quads" are physical channels / 4.
struct Params {
    grid_first: u32,
    grid_width: u32,
    grid_count: u32,
    n: u32,          // images
    h: u32,          // x rows
    w: u32,          // x columns
    c_quads: u32,    // x channel quads
    p: u32,          // y rows
    q: u32,          // y columns
    k_quads: u32,    // y channel quads
    r: u32,          // filter rows
    s: u32,          // filter columns
    stride_h: u32,
    stride_w: u32,
    pad_top: u32,
    pad_left: u32,
    x_pitch: u32,    // quads from one pixel of x (dx) to the next: c_quads, or more if x is a slice of a wider tensor
    x_first: u32,    // first quad of x (dx) in its binding
    y_pitch: u32,    // the same for y (dy)
    y_first: u32,
    split_first: u32, // forward: the first slice of this launch; a filter larger than a binding is worked on in runs of slices
    w_skip: u32,     // forward: quads of the filter before its binding
    splits: u32,     // slices of the reduction; > 1: out is the workspace [splits][out_quads] and there is no epilogue
    split_size: u32, // units of the reduction in a slice (forward: c quads, grad_input: k quads, grad_weight: y rows n*p)
    out_quads: u32,  // quads of the dense output: stride of a slice in the workspace
    relu: u32,       // forward: 1 = ReLU at the end
    epilogue: u32,   // forward: + 1 = add the bias, + 2 = batch norm with given statistics then
#if MASK && STRIDED
    masked: u32,     // grad_input: 1 = there is a mask
#end
#if SKIP
    skip_pitch: u32, // as x_pitch and x_first, for the residual
    skip_first: u32,
#end
}
