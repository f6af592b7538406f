//! The example of the README: a small network learns on which side of an image a bright spot is.

use radiograd::nn::{Layers, Optimizer, ParamStore};
use radiograd::ops::{Geometry, Smoothing, Window};
use radiograd::{Feed, Gpu, Graph, Plan, Shape};
use std::rc::Rc;

fn main() -> radiograd::Result<()> {
    let gpu = Gpu::new()?;
    // Record the network once; shapes are N C H W and are checked here.
    let g = Graph::new();
    let (images, labels) = (g.input("images", Shape::image(16, 1, 16, 16)), g.input_integers("labels", 16));
    let layers = Layers::default();
    let y = layers.conv2d(images, "conv1", 8, [3, 3], Geometry::same(3, 3)).relu().max_pool(Window::square(2));
    let y = layers.conv2d(y, "conv2", 16, [3, 3], Geometry::same(3, 3)).relu().max_pool(Window::square(2));
    let (loss, _) = layers.dense(y, "fc", 2).cross_entropy(labels, Smoothing::None, None);

    // Plan a training step: gradients, memory, dispatches. Nothing is allocated in the loop below.
    let mut adam = Optimizer::adam();
    let weights = Rc::new(ParamStore::init(&g, 1).upload(&gpu)?);
    let rule = adam.clone();
    let spec = rule.step_of(loss);
    let mut plan = Plan::compile(&gpu, &g, &weights, &spec)?;
    println!("{}", plan.memory());

    for step in 0..60 {
        let (mut pixels, mut sides) = (vec![0.0; 16 * 256], vec![0; 16]);
        for i in 0..16 {
            let (row, column) = ((step * 7 + i * 5) % 16, (step * 3 + i * 11) % 16);
            pixels[i * 256 + row * 16 + column] = 4.0;
            sides[i] = u32::from(column >= 8);
        }
        let hyper = adam.advance(3e-3);
        let feeds =
            [(images, Feed::F32(&pixels)), (labels, Feed::U32(&sides)), (spec.hyper.unwrap(), Feed::F32(&hyper))];
        let outputs = plan.run(&gpu, &feeds)?;
        if step % 10 == 9 {
            println!("step {:2}  loss {:.4}", step + 1, outputs[0][0]);
        }
    }
    Ok(())
}
