use super::*;
use crate::graph::reference::{Values, evaluate};
use crate::nn::ParamStore;
use crate::ops::testing::{gpu, numbers};

/// Images [n, 1, side, side] in [0, 1).
fn images(n: usize, side: usize) -> Vec<f32> {
    numbers(7, n * side * side).iter().map(|v| 0.5 + 0.5 * v).collect()
}

fn samples<'a>(data: &'a [f32], side: usize, items: &'a [(usize, usize)]) -> Samples<'a> {
    Samples { data, mirrored: None, shape: [1, side, side], items }
}

/// Weights with biases that are not zero.
fn parameters(name: &str, side: usize, classes: usize) -> (Network, ParamStore) {
    let network = Network::named(name).unwrap();
    let mut store = network.init(side, classes, 3);
    for (i, p) in store.params.iter_mut().enumerate().filter(|(_, p)| p.name.ends_with("bias")) {
        p.values = numbers(100 + i as u32, p.values.len()).iter().map(|v| 0.1 * v).collect();
    }
    (network, store)
}

/// The raw map of one image by the f64 interpreter.
fn reference(network: &Network, store: &ParamStore, image: &[f32], picked: &[f64], o: &CamOptions) -> Vec<f64> {
    let graph = Graph::new();
    let x = graph.input("images", Shape::image(1, 1, o.side, o.side));
    let upstream = graph.input("class", Shape::image(1, o.classes, 1, 1));
    let out = network.record(&graph, x, o.classes, &Layers::default());
    let features = o.layer.as_ref().map_or(out.features, |l| activation(out.logits, l).unwrap());
    let gradient = out.logits.gradients_with(upstream, &[features])[0].unwrap();
    let mut known = Values::new();
    known.insert(x.id, image.iter().map(|v| f64::from(*v)).collect());
    known.insert(upstream.id, picked.to_vec());
    for p in &store.params {
        let id = graph.param(&p.name, p.shape, p.trainable).id;
        known.insert(id, p.values.iter().map(|v| f64::from(*v)).collect());
    }
    evaluate(&graph, &known, &[features.cam(gradient, o.method)]).remove(0)
}

#[track_caller]
fn near(got: &[f32], want: &[f64], what: &str) {
    let scale = want.iter().fold(1e-9f64, |a, v| a.max(v.abs()));
    assert_eq!(got.len(), want.len(), "{what}");
    for (g, w) in got.iter().zip(want) {
        assert!((f64::from(*g) - w).abs() <= 2e-5 * scale, "{what}: {g}, reference {w} of {scale}");
    }
}

#[test]
fn every_method_at_any_layer_for_whole_batches_is_the_reference() {
    let (side, n) = (16, 3);
    let (network, store) = parameters("gaowang", side, 3);
    let (data, items) = (images(n, side), [(0, 0), (1, 0), (2, 0)]);
    let weights = Rc::new(store.upload(gpu()).unwrap());
    for (method, layer) in CamMethod::ALL.into_iter().flat_map(|m| [None, Some("conv2")].map(|l| (m, l))) {
        let options = CamOptions { layer: layer.map(String::from), ..CamOptions::new(side, 3).batch(2).method(method) };
        let mut cam = GradCam::new(gpu(), &network, &weights, &options).unwrap();
        assert_eq!(cam.raw_size(), if layer.is_some() { [8, 8] } else { [4, 4] });
        let targets = [0, 2, 1];
        for (i, e) in cam.explain(gpu(), &samples(&data, side, &items), &targets).unwrap().iter().enumerate() {
            let mut picked = [0.0; 3];
            picked[targets[i]] = 1.0;
            let image = &data[i * side * side..(i + 1) * side * side];
            near(&e.raw, &reference(&network, &store, image, &picked, &options), &format!("{method:?} {layer:?} {i}"));
            let top = e.raw.iter().fold(0.0f32, |a, v| a.max(*v));
            assert_eq!((e.peak, e.is_empty()), (top, top == 0.0));
            assert!(e.map.iter().all(|v| (0.0..=1.0).contains(v)) && e.rgb.len() == 3 * side * side);
        }
    }
}

#[test]
fn a_sigmoid_explains_both_classes() {
    let side = 16;
    let (network, store) = parameters("hernandez_custom", side, 1);
    let (data, items) = (images(1, side), [(0, 0), (0, 0)]);
    let weights = Rc::new(store.upload(gpu()).unwrap());
    for method in CamMethod::ALL {
        let options = CamOptions::new(side, 1).batch(2).method(method).layer("conv2");
        let mut cam = GradCam::new(gpu(), &network, &weights, &options).unwrap();
        let both = cam.explain(gpu(), &samples(&data, side, &items), &[0, 1]).unwrap();
        for (e, sign) in both.iter().zip([-1.0, 1.0]) {
            near(&e.raw, &reference(&network, &store, &data, &[sign], &options), &format!("{method:?} {sign}"));
        }
        assert_eq!(both[0].logits, both[1].logits);
        assert_ne!(both[0].raw, both[1].raw, "{method:?}");
        if method == CamMethod::HiResCam {
            // What speaks for one class at a pixel does not speak for the other.
            assert!(both[0].raw.iter().zip(&both[1].raw).all(|(a, b)| *a == 0.0 || *b == 0.0));
        }
        assert!(cam.explain(gpu(), &samples(&data, side, &items), &[0, 2]).is_err());
    }
}

#[test]
fn a_frozen_base_is_explained_like_any_other() {
    let side = 16;
    let (network, mut store) = parameters("gaowang", side, 2);
    let (data, items) = (images(1, side), [(0, 0)]);
    let run = |store: &ParamStore| {
        let weights = Rc::new(store.upload(gpu()).unwrap());
        let mut cam = GradCam::new(gpu(), &network, &weights, &CamOptions::new(side, 2)).unwrap();
        cam.explain(gpu(), &samples(&data, side, &items), &[1]).unwrap().remove(0)
    };
    let whole = run(&store);
    store.params.iter_mut().for_each(|p| p.trainable = network.head.owns(&p.name));
    assert_eq!(run(&store), whole);
}

#[test]
fn an_empty_map_is_flagged_and_finite() {
    let side = 16;
    let (network, mut store) = parameters("gaowang", side, 2);
    store.params.iter_mut().for_each(|p| p.values.fill(0.0));
    let weights = Rc::new(store.upload(gpu()).unwrap());
    let data = images(1, side);
    for method in CamMethod::ALL {
        let mut cam = GradCam::new(gpu(), &network, &weights, &CamOptions::new(side, 2).method(method)).unwrap();
        let e = cam.explain(gpu(), &samples(&data, side, &[(0, 0)]), &[0]).unwrap().remove(0);
        assert!(e.is_empty() && e.raw.iter().chain(&e.map).all(|v| *v == 0.0), "{method:?}");
        assert_eq!(e.rgb[..3], e.rgb[e.rgb.len() - 3..]);
    }
}

#[test]
fn wrong_options_say_what_is_needed() {
    let (network, store) = parameters("gaowang", 16, 2);
    let weights = Rc::new(store.upload(gpu()).unwrap());
    let error = |o: CamOptions| GradCam::new(gpu(), &network, &weights, &o).err().expect("an error").to_string();
    assert!(error(CamOptions::new(16, 2).layer("conv4")).contains("did you mean 'conv"));
    assert!(error(CamOptions::new(16, 2).batch(0)).contains("batch 0"));
    assert!(error(CamOptions::new(16, 2).channels(2)).contains("2 channels"));
    assert!(error(CamOptions::new(4, 2)).contains("side of 4"));
    let mut cam = GradCam::new(gpu(), &network, &weights, &CamOptions::new(16, 2)).unwrap();
    let data = images(1, 16);
    assert!(cam.explain(gpu(), &samples(&data, 16, &[(0, 0)]), &[2]).is_err());
    assert!(cam.explain(gpu(), &samples(&data, 16, &[(1, 0)]), &[0]).is_err(), "an image that is not there");
    assert!(cam.explain(gpu(), &samples(&data, 8, &[(0, 0)]), &[0]).is_err());
}
