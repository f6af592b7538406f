//! Where the cells of a feature map lie in the image, from the convolutions and pools between them.

use crate::graph::{Graph, Node, Origin, ValueId, downcast};
use crate::ops::{AvgPool, Conv2d, DepthwiseConv2d, MaxPool, ZeroPad};

/// The place of a feature map's cells in the image, in pixels; the same in both directions. Cell i is centred on the pixels from
/// `offset + i · stride` to `offset + (i + 1) · stride`.
///
/// Unpadded convolutions eat a border and padded ones with stride 2 shift the cells, so the cells do not span the image, and
/// stretching the map over all of it, as is usual, moves the heat by up to `offset` pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cells {
    /// Distance from cell to cell.
    pub stride: f64,
    /// Where the first cell begins; negative where padding lets it begin before the image.
    pub offset: f64,
}

/// The cells of `features`, followed back to an input along the first operands: the branches of a concatenation or a sum have the
/// same cells.
pub fn cells(graph: &Graph, features: ValueId) -> Cells {
    // A cell's centre is at `start + i · stride` in the coordinates of the value reached so far.
    let (mut at, mut stride, mut start) = (features, 1.0, 0.0);
    loop {
        let Origin::Node { node, .. } = graph.describe(at).origin else {
            return Cells { stride, offset: start + 0.5 - stride / 2.0 };
        };
        let node = graph.node(node);
        if let Some((size, step, before)) = window(&node, graph) {
            // The centre of output i is input i · step − before + (size − 1) / 2.
            start = start * step as f64 - before as f64 + (size as f64 - 1.0) / 2.0;
            stride *= step as f64;
        }
        at = node.inputs[0];
    }
}

/// Size, stride and padding at the top of a node that moves cells.
fn window(node: &Node, graph: &Graph) -> Option<(usize, usize, usize)> {
    let op = node.op.as_ref();
    let filter = || graph.describe(node.inputs[1]).shape.dims()[2];
    if let Some(conv) = downcast::<Conv2d>(op) {
        return Some((filter(), conv.geometry.stride[0], conv.geometry.padding[0]));
    }
    if let Some(conv) = downcast::<DepthwiseConv2d>(op) {
        return Some((filter(), conv.geometry.stride[0], conv.geometry.padding[0]));
    }
    if let Some(pool) = downcast::<MaxPool>(op) {
        return Some((pool.0.size[0], pool.0.stride[0], pool.0.padding[0]));
    }
    if let Some(pool) = downcast::<AvgPool>(op) {
        return Some((pool.window.size[0], pool.window.stride[0], pool.window.padding[0]));
    }
    downcast::<ZeroPad>(op).map(|pad| (1, 1, pad.0[0]))
}

#[cfg(test)]
mod tests {
    use crate::models::Network;

    #[test]
    fn cells_of_known_networks() {
        let of = |name: &str, side| {
            let c = Network::named(name).unwrap().cells(side);
            (c.stride, c.offset)
        };
        // DETL: cell m is centred at 2 (2 (m + 2) + ½ + 2) + ½ + 2 = 4 m + 15.5, so it begins at pixel 4 m + 14.
        assert_eq!(of("detl12", 64), (4.0, 14.0));
        // Padded 3×3 convolutions keep the grid, four 2×2 pools take blocks of 16 pixels.
        assert_eq!(of("vgg16", 64), (16.0, 0.0));
        assert_eq!(of("gaowang", 64), (4.0, 0.0));
        // 7×7/2 pad 3 and 3×3/2 pad 1 are centred on every second pixel: cell i on pixel 32 i.
        assert_eq!(of("resnet50", 96), (32.0, -15.5));
    }
}
