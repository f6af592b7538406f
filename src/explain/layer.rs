//! A layer by its name: the activation that a class activation map explains.

use crate::error::{Error, Result};
use crate::graph::{Graph, Node, Origin, Shape, Tensor, downcast};
use crate::ops::{Elu, Relu};

/// The last activation recorded under the layer path `name` (`layer3.5`, `features.denseblock3`, `block2.conv1`) that `logits`
/// depend on: an image with more than one pixel. Where its only reader is a ReLU or an ELU, that one's output: a
/// convolution's nonlinearity is recorded after the layer, and belongs to it.
///
/// # Errors
/// [`Error::Usage`] with the nearest names for a name that is none; or when the layer gives no map.
pub fn activation<'g>(logits: Tensor<'g>, name: &str) -> Result<Tensor<'g>> {
    let graph = logits.graph();
    let nodes = behind(graph, logits);
    let under = |path: &str| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    let is_image = |n: &&Node| matches!(graph.describe(n.outputs[0]).shape, Shape::Image { .. });
    let Some(last) = nodes.iter().filter(|n| !name.is_empty() && under(&n.path)).filter(is_image).last() else {
        let names = names(&nodes);
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        // Deep networks have hundreds of layers: the list is that of the outer ones.
        let outer: Vec<&str> = names.iter().copied().filter(|n| names.len() < 32 || !n.contains('.')).collect();
        let suggestion = crate::names::suggest(&crate::names::near(name, &names), &outer);
        return Err(Error::Usage(format!("there is no layer '{name}'; {suggestion}")));
    };
    let mut at = last.outputs[0];
    loop {
        let mut readers = nodes.iter().filter(|n| n.inputs.contains(&at));
        let (Some(reader), None) = (readers.next(), readers.next()) else { break };
        let op = reader.op.as_ref();
        if downcast::<Relu>(op).is_none() && downcast::<Elu>(op).is_none() {
            break;
        }
        at = reader.outputs[0];
    }
    match graph.describe(at).shape {
        Shape::Image { h, w, .. } if h * w > 1 => Ok(Tensor { graph, id: at }),
        shape => Err(Error::Usage(format!("layer '{name}' gives {shape}: a single pixel is no map"))),
    }
}

/// The nodes that `of` depends on, in order.
fn behind(graph: &Graph, of: Tensor) -> Vec<Node> {
    let mut wanted = std::collections::HashSet::from([of.id]);
    let Origin::Node { node: last, .. } = graph.describe(of.id).origin else { return Vec::new() };
    let mut nodes = Vec::new();
    for i in (0..=last.0).rev() {
        let node = graph.node(crate::graph::NodeId(i));
        if node.outputs.iter().any(|v| wanted.contains(v)) {
            wanted.extend(&node.inputs);
            nodes.push(node);
        }
    }
    nodes.reverse();
    nodes
}

/// The layer names there are: every path and what it lies in, in order of the network.
fn names(nodes: &[Node]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for path in nodes.iter().map(|n| n.path.as_str()).filter(|p| !p.is_empty()) {
        let ends = path.match_indices('.').map(|(i, _)| i).chain([path.len()]);
        for end in ends {
            if !all.iter().any(|n| n == &path[..end]) {
                all.push(path[..end].into());
            }
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::{NETWORKS, Network, cells};
    use crate::nn::Layers;

    fn record<'g>(graph: &'g Graph, name: &str, side: usize) -> crate::models::Outputs<'g> {
        let x = graph.input("images", Shape::image(1, 1, side, side));
        Network::named(name).unwrap().record(graph, x, 2, &Layers::default())
    }

    #[test]
    fn every_networks_own_layer_is_found_by_its_name_and_its_cells_lie_in_the_image() {
        for a in NETWORKS {
            let graph = Graph::new();
            let out = record(&graph, a.name, a.side);
            let found = activation(out.logits, a.gradcam_layer);
            assert_eq!(found.unwrap().id, out.features.id, "{} {}", a.name, a.gradcam_layer);
            let cells = Network::named(a.name).unwrap().cells(a.side);
            assert_eq!(cells, crate::models::cells(&graph, out.features.id), "{}", a.name);
            assert!(
                cells.stride.is_finite() && cells.offset.is_finite() && cells.stride >= 1.0,
                "{}: {cells:?}",
                a.name
            );
            let (_, _, h, w) = out.features.nchw();
            assert_eq!(h, w, "{}", a.name);
            // The centres of the first and the last cell are in the image or on its border.
            let centre = |i: usize| cells.offset + (i as f64 + 0.5) * cells.stride;
            let image = 0.0..=a.side as f64;
            assert!(image.contains(&centre(0)) && image.contains(&centre(h - 1)), "{}: {cells:?}, {h} cells", a.name);
        }
    }

    #[test]
    fn layers_inside_have_their_maps() {
        let shape = |name: &str, side, layer: &str| {
            let graph = Graph::new();
            let out = record(&graph, name, side);
            let found = activation(out.logits, layer).unwrap();
            let (_, c, h, w) = found.nchw();
            (c, h, w, cells(&graph, found.id).stride)
        };
        assert_eq!(shape("resnet50", 96, "layer3.5"), (1024, 6, 6, 16.0));
        assert_eq!(shape("resnet50", 96, "layer3"), (1024, 6, 6, 16.0));
        assert_eq!(shape("densenet121", 96, "features.denseblock3"), (1024, 6, 6, 16.0));
        assert_eq!(shape("detl12", 64, "block2.conv1"), (64, 28, 28, 2.0));
        assert_eq!(shape("zhong_dcnn", 80, "block2.conv2"), (64, 40, 40, 2.0));
    }

    #[test]
    fn the_nonlinearity_belongs_to_its_convolution() {
        let graph = Graph::new();
        let out = record(&graph, "detl12", 64);
        let found = activation(out.logits, "block2.conv1").unwrap();
        let Origin::Node { node, .. } = graph.describe(found.id).origin else { panic!("a node") };
        assert_eq!(graph.node(node).op.name(), "relu");
    }

    #[test]
    fn what_is_no_layer_is_refused() {
        let graph = Graph::new();
        let out = record(&graph, "resnet50", 64);
        let error = |name: &str| activation(out.logits, name).unwrap_err().to_string();
        let answer = "there is no layer 'layer3.7'; did you mean 'layer3' or 'layer3.0' or 'layer3.1'? There is conv1, bn1, \
            layer1, layer2, layer3, layer4, fc";
        assert_eq!(error("layer3.7"), answer);
        assert!(error("").contains("there is no layer"), "{}", error(""));
        assert!(error("fc").contains("single pixel"), "{}", error("fc"));
        assert!(!error("qqq").contains("did you mean"));
    }
}
