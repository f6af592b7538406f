//! "Did you mean": the names nearest to one that is not there.

/// Most names that are listed.
const LISTED: usize = 24;

/// The three names most like `name`, the nearest first; fewer or none where nothing is near.
pub fn near<'n>(name: &str, names: &[&'n str]) -> Vec<&'n str> {
    let alike = |n: &str| strsim::jaro_winkler(&name.to_lowercase(), &n.to_lowercase());
    let mut ranked: Vec<(f64, &str)> = names.iter().map(|n| (alike(n), *n)).filter(|(s, _)| *s > 0.75).collect();
    ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    ranked.into_iter().map(|(_, n)| n).take(3).collect()
}

/// "did you mean 'a' or 'b'? There is a, b, c" for an unknown `name`, or the list alone when nothing is near; of a long list
/// the beginning.
pub fn nearest(name: &str, names: &[&str]) -> String {
    suggest(&near(name, names), names)
}

/// The sentence of [`nearest`] for names that are `near` and names that are there.
pub fn suggest(near: &[&str], names: &[&str]) -> String {
    let more = names.len().saturating_sub(LISTED);
    let tail = if more > 0 { format!(" and {more} more") } else { String::new() };
    let list = names[..names.len() - more].join(", ") + &tail;
    match near.iter().map(|n| format!("'{n}'")).collect::<Vec<_>>().join(" or ") {
        near if near.is_empty() => format!("there is {list}"),
        near => format!("did you mean {near}? There is {list}"),
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn near_names_come_first_and_far_ones_not_at_all() {
        let names = ["vgg16", "vgg19", "resnet50", "detl12"];
        assert!(nearest("resnet5", &names).starts_with("did you mean 'resnet50'? There is vgg16, vgg19"));
        assert!(nearest("VGG-16", &names).starts_with("did you mean 'vgg16' or 'vgg19'?"));
        let many: Vec<String> = (0..30).map(|i| format!("layer{i}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(nearest("qqq", &many).ends_with("layer22, layer23 and 6 more"));
        assert_eq!(nearest("qqq", &names), "there is vgg16, vgg19, resnet50, detl12");
    }
}
