//! The part of the report that shows where the network looked: energy of the maps inside masks, and panels per class.

use crate::eval::cam_energy::CamScores;
use crate::eval::metrics_file::Metrics;
use crate::report::encode::{escape, png_uri, row, table};
use crate::report::text::{ends, percent, percent_or};

/// One Grad-CAM panel of the gallery.
#[derive(Debug, Clone, PartialEq)]
pub struct GalleryItem {
    /// Name of the true class; the gallery is grouped by it.
    pub truth: String,
    /// Name of the predicted class.
    pub predicted: String,
    /// Softmax probability of the predicted class.
    pub probability: f64,
    /// Name of the class whose score the map explains.
    pub explained: String,
    /// The panel as a PNG file.
    pub png: Vec<u8>,
    /// Share of the map's energy inside the mask, where there is a mask; `None` within for a map that is 0 everywhere.
    pub energy_inside: Option<Option<f64>>,
    /// The same share for a map without any preference.
    pub uniform_share: Option<f64>,
}

/// HTML of the section for `metrics.cam` and the panels of `gallery`, grouped by true class.
pub fn cams(metrics: &Metrics, gallery: &[GalleryItem]) -> String {
    let mut out = String::new();
    if let Some(cam) = &metrics.cam {
        let rows: String = cam
            .per_class
            .iter()
            .chain([&cam.all])
            .map(|s| heat_row(if s.class == cam.all.class { " class=\"total\"" } else { "" }, &s.class, s))
            .collect();
        let (mask, target) = (escape(&cam.mask), escape(&cam.target));
        out += &format!(
            "<h3>Energy inside the {mask} masks</h3>\n{}<p class=\"note\">Share of the map's sum that lies inside the {mask} mask, \
             for the score of the {target}; a uniform map is one without any preference, over the part of the image that the map covers. Student's t \
             interval over images. Maps that are 0 everywhere are counted as empty and are not in the means.</p>\n",
            heat_table("class", &rows)
        );
    }
    let mut groups: Vec<&str> = metrics.data.classes.iter().map(String::as_str).collect();
    for item in gallery {
        if !groups.contains(&item.truth.as_str()) {
            groups.push(&item.truth);
        }
    }
    for class in groups {
        let items: Vec<&GalleryItem> = gallery.iter().filter(|i| i.truth == class).collect();
        if !items.is_empty() {
            out += &format!("<h3>{}</h3>\n", escape(class));
            out.extend(items.into_iter().map(gallery_figure));
        }
    }
    if !gallery.is_empty() {
        out += "<p class=\"note\">Each map is scaled to its own maximum: colours compare places within a map, not maps with each \
                other. An outline, where there is one, is the mask.</p>\n";
    }
    out
}

/// Figures of heat, a row for each of what `first` says.
pub(crate) fn heat_table(first: &str, rows: &str) -> String {
    table(&[first, "images", "heat inside", "95 % interval", "uniform map", "maximum inside", "empty maps"], rows)
}

/// A row of [`heat_table`] under `name`.
pub(crate) fn heat_row(attributes: &str, name: &str, s: &CamScores) -> String {
    let cells = [
        escape(name),
        s.images.to_string(),
        percent_or(s.energy_inside),
        s.energy_interval.as_ref().map_or(String::new(), ends),
        percent_or(s.uniform_share),
        percent_or(s.peak_inside),
        s.zero_maps.to_string(),
    ];
    row(attributes, &cells)
}

pub(crate) fn gallery_figure(item: &GalleryItem) -> String {
    let verdict = if item.truth == item.predicted { "right" } else { "wrong" };
    let mut caption = format!(
        "True {}, predicted {} with probability {} ({verdict}); map for {}.",
        item.truth,
        item.predicted,
        percent(item.probability),
        item.explained
    );
    match (item.energy_inside, item.uniform_share) {
        (Some(None), _) => caption += " The map is 0 everywhere.",
        (Some(Some(energy)), Some(uniform)) => {
            caption += &format!(" Energy inside the mask {}, uniform map {}.", percent(energy), percent(uniform));
        }
        _ => {}
    }
    let caption = escape(&caption);
    format!(
        "<figure><img src=\"{}\" alt=\"Grad-CAM panel: {caption}\"><figcaption>{caption}</figcaption></figure>\n",
        png_uri(&item.png)
    )
}
