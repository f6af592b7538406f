//! Pages of predictions with heat maps, an image a row: the original, the probabilities of each stage as bars, the heat map
//! over the original. What Gao & Wang's user interface shows, for many images at once.

use crate::report::colormap::Colormap;
use crate::report::encode::{escape, png_uri, row, table};
use crate::report::html::{first, page, section};
use crate::report::overlay::{PanelStyle, png_bytes};
use crate::report::text::{percent, thousands};
use image::{Rgb, RgbImage};

/// What one stage says of an image.
#[derive(Clone, Debug, PartialEq)]
pub struct StageBars {
    /// What the stage is called, as in "stage 2".
    pub name: String,
    /// Its classes and their probabilities.
    pub bars: Vec<(String, f64)>,
    /// The highest of them.
    pub best: usize,
}

/// One image of a page.
#[derive(Clone, Debug, PartialEq)]
pub struct HeatRow {
    /// Its place in the list, from 1 on.
    pub number: usize,
    /// What it is called: a hash, or a path where names are wanted.
    pub name: String,
    /// What the network saw, as a PNG file.
    pub original: Vec<u8>,
    /// Its side in pixels.
    pub side: usize,
    /// The heat map in colours as a PNG file; `None` for an empty map.
    pub map: Option<Vec<u8>>,
    /// The stages that ran, in order.
    pub stages: Vec<StageBars>,
    /// File name of the panel beside the page.
    pub panel: String,
}

impl HeatRow {
    /// The class that the last stage gives.
    pub fn verdict(&self) -> &str {
        self.stages.last().and_then(|s| s.bars.get(s.best)).map_or("", |b| b.0.as_str())
    }

    /// The row as HTML.
    pub fn html(&self) -> String {
        let verdict = escape(self.verdict());
        let last = self.stages.last().map_or("", |s| s.name.as_str());
        let of = if self.stages.len() > 1 { format!(", {last}") } else { String::new() };
        let original = png_uri(&self.original);
        let side = self.side;
        let (map, words) = match &self.map {
            Some(map) => {
                let alpha = PanelStyle::default().alpha;
                let over = format!("<img class=\"map\" style=\"opacity:{alpha}\" alt=\"\" src=\"{}\">", png_uri(map));
                (over, format!("Grad-CAM for {verdict}{of}"))
            }
            None => (String::new(), format!("No heat map: Grad-CAM finds nothing that speaks for {verdict}{of}")),
        };
        let stages: String = self.stages.iter().map(bars).collect();
        format!(
            "<section class=\"case\"><h2>{} <small class=\"note\">{}</small></h2>\n\
             <figure><img class=\"pixels\" alt=\"the image\" src=\"{original}\"><figcaption>Original, {side} x {side} pixels as the \
             network sees it</figcaption></figure>\n\
             <div class=\"stages\">{stages}<p class=\"verdict\">Verdict: <strong>{verdict}</strong></p></div>\n\
             <figure><div class=\"stack\"><img class=\"pixels\" alt=\"the image, with its heat map over it\" \
             src=\"{original}\">{map}</div><figcaption>{words}. <a href=\"{}\">Panel</a></figcaption></figure>\n</section>\n",
            thousands(self.number as u64),
            escape(&self.name),
            escape(&self.panel),
        )
    }
}

/// A stage's probabilities.
fn bars(stage: &StageBars) -> String {
    let bar = |(i, (class, p)): (usize, &(String, f64))| {
        let attributes = if i == stage.best { " class=\"best\"" } else { "" };
        let width = (100.0 * p).clamp(0.0, 100.0);
        format!(
            "<tr{attributes}><th scope=\"row\">{}</th><td class=\"bar\"><span style=\"width:{width:.1}%\"></span></td><td>{}</td></tr>\n",
            escape(class),
            percent(*p)
        )
    };
    let rows: String = stage.bars.iter().enumerate().map(bar).collect();
    format!("<h3>{}</h3>\n<table class=\"bars\"><tbody>\n{rows}</tbody></table>\n", escape(&capital(&stage.name)))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}

/// What a page says besides its rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeatSummary {
    /// The page's number, from 1 on; the first one has the summary.
    pub page: usize,
    /// Whether there is a page after it.
    pub more: bool,
    /// All images that were predicted.
    pub images: usize,
    /// Images that could not be used.
    pub skipped: usize,
    /// Verdicts and how many images have them.
    pub verdicts: Vec<(String, usize)>,
    /// Images with a verdict whose map is empty.
    pub empty: usize,
    /// Stages in words: name, and network with side and digest.
    pub stages: Vec<(String, String)>,
}

/// File name of page `number`, from 1 on.
pub fn file_name(number: usize) -> String {
    if number == 1 { "index.html".into() } else { format!("page-{number:04}.html") }
}

/// A whole page with `rows`, which are HTML already.
pub fn render(summary: &HeatSummary, rows: &str, program: &str) -> String {
    let number = summary.page;
    let title = match number {
        1 => "Predictions with heat maps".to_string(),
        n => format!("Predictions with heat maps, page {n}"),
    };
    let mut body = String::new();
    if number == 1 {
        body += &first(&warnings(summary));
        body += &section("Verdicts", &verdicts(summary));
    }
    let to = |number: usize, text: &str| format!("<a href=\"{}\">{text}</a>", file_name(number));
    let mut links = String::new();
    links += &if number > 1 { to(number - 1, "Previous page") } else { String::new() };
    links += &if summary.more { to(number + 1, "Next page") } else { String::new() };
    let links = if links.is_empty() { links } else { format!("<nav>{links}</nav>\n") };
    let body = format!("{body}{links}{rows}{links}");
    page(&title, &body, program).replacen("</style>", &format!("{}</style>", include_str!("heat_page.css")), 1)
}

fn warnings(summary: &HeatSummary) -> Vec<String> {
    let mut all = Vec::new();
    if summary.skipped > 0 {
        let all_images = thousands((summary.images + summary.skipped) as u64);
        all.push(format!(
            "{} of {all_images} images could not be used and are not here.",
            thousands(summary.skipped as u64)
        ));
    }
    if summary.empty > 0 {
        all.push(format!(
            "{} of {} heat maps are empty: Grad-CAM finds nothing that speaks for the class that the network names.",
            thousands(summary.empty as u64),
            thousands(summary.images as u64)
        ));
    }
    all
}

fn verdicts(summary: &HeatSummary) -> String {
    let one = |(class, n): &(String, usize)| {
        let share = *n as f64 / summary.images.max(1) as f64;
        row("", &[escape(class), thousands(*n as u64), percent(share)])
    };
    let mut rows: String = summary.verdicts.iter().map(one).collect();
    rows += &row(" class=\"total\"", &["all".into(), thousands(summary.images as u64), String::new()]);
    let stages: String = summary
        .stages
        .iter()
        .map(|(name, text)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(&capital(name)), escape(text)))
        .collect();
    let width = 192;
    let bar = RgbImage::from_fn(width, 1, |x, _| Rgb(Colormap::Turbo.rgb8(x as f32 / (width - 1) as f32)));
    let key = png_bytes(&bar).map_or(String::new(), |png| format!("<img alt=\"colours\" src=\"{}\">", png_uri(&png)));
    format!(
        "{}<dl>\n{stages}</dl>\n<p class=\"key note\"><span>no heat</span>{key}<span>the map's maximum</span></p>\n\
         <p class=\"note\">Probabilities are the networks' own and are not calibrated. A heat map (Grad-CAM, Selvaraju et al. 2017) \
         shows what raised the score of the verdict's class in the stage that gave it, not where a disease is. Each map is scaled \
         to its own maximum: colours compare places within a map, not maps with each other.</p>\n",
        table(&["verdict", "images", "share"], &rows)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case(map: Option<Vec<u8>>, name: &str) -> HeatRow {
        let stage = |name: &str, classes: [(&str, f64); 2], best| StageBars {
            name: name.into(),
            bars: classes.map(|(c, p)| (c.to_string(), p)).to_vec(),
            best,
        };
        HeatRow {
            number: 7,
            name: name.into(),
            original: b"foobar".to_vec(),
            side: 64,
            map,
            stages: vec![
                stage("stage 1", [("normal", 0.1), ("<viral>", 0.9)], 1),
                stage("stage 2", [("covid", 0.625), ("other", 0.375)], 0),
            ],
            panel: "0007-abc.png".into(),
        }
    }

    #[test]
    fn a_row_has_the_original_the_bars_and_the_map() {
        let html = case(Some(b"foo".to_vec()), "img-abc").html();
        for part in [
            "img-abc",
            "Stage 1",
            "&lt;viral&gt;</th><td class=\"bar\"><span style=\"width:90.0%\">",
            "class=\"best\"><th scope=\"row\">covid</th><td class=\"bar\"><span style=\"width:62.5%\"></span></td><td>62.5 %",
            "Verdict: <strong>covid</strong>",
            "base64,Zm9vYmFy",
            "base64,Zm9v\"",
            "Grad-CAM for covid, stage 2",
            "href=\"0007-abc.png\"",
        ] {
            assert!(html.contains(part), "{part} is missing in {html}");
        }
        assert_eq!(html.matches("class=\"best\"").count(), 2);
        let empty = case(None, "a\"><script>").html();
        assert!(
            empty.contains("No heat map: Grad-CAM finds nothing that speaks for covid") && !empty.contains("<script"),
            "{empty}"
        );
        assert!(!empty.contains("class=\"map\""));
    }

    #[test]
    fn pages_are_linked_and_load_nothing() {
        let mut summary = HeatSummary {
            page: 1,
            more: true,
            images: 5,
            skipped: 2,
            verdicts: vec![("a<b".into(), 3), ("c".into(), 2)],
            empty: 1,
            stages: vec![("stage 1".into(), "gaowang".into())],
        };
        let page = render(&summary, &case(None, "x").html(), "radiograd");
        for part in ["a&lt;b", "60.0\u{a0}%", "2 of 7 images could not", "1 of 5 heat maps", "page-0002.html", ".bars"]
        {
            assert!(page.contains(part), "{part}");
        }
        assert!(!page.contains("<script") && !page.contains("http://") && page.contains("img-src data:"), "{page}");
        assert_eq!(page.matches("not a medical device").count(), 2);
        assert_eq!(page.matches("<style").count(), 1);
        (summary.page, summary.more) = (2, false);
        let page = render(&summary, "", "radiograd");
        assert!(page.contains("href=\"index.html\"") && !page.contains("Next page") && !page.contains("Verdicts"));
    }
}
