use super::*;
use crate::data::table::Origin;

/// `source, finding, patient, view, age, original name` of each record; the collection is the source up to the hyphen.
fn data(rows: &[[&str; 6]]) -> Dataset {
    let some = |s: &str| (!s.is_empty()).then(|| s.to_string());
    let record = |[source, finding, patient, view, age, name]: &[&str; 6]| Record {
        finding: finding.to_string(),
        patient: some(patient),
        view: some(view),
        age: some(age),
        source: source.to_string(),
        collection: source.split('-').next().unwrap_or_default().to_string(),
        original_name: some(name),
        ..Record::default()
    };
    let children = |c: bool| Origin { children: c, ..Origin::default() };
    let origins = [("kermany-224".to_string(), children(true)), ("nih-a".to_string(), children(false))];
    Dataset { records: rows.iter().map(record).collect(), origins: origins.into(), ..Dataset::default() }
}

/// A world with something for every map.
fn world() -> Dataset {
    data(&[
        ["nih-a", "No Finding", "nih:1", "PA", "58", "1.png"],
        ["nih-a", "Effusion|Pleural_Thickening", "nih:2", "AP", "30", "2.png"],
        ["nih-a", "Effusion|Pneumonia", "nih:3", "AP", "030Y", "3.png"],
        ["nih-a", "No Finding", "nih:4", "PA", "011Y", "4.png"],
        ["nih-b", "Pneumonia|Effusion", "nih:3", "AP", "30", "3.png"],
        ["cohen-covid", "COVID-19|ARDS", "cohen:1", "PA", "", "c1.jpg"],
        ["cohen-covid", "COVID-19", "cohen:2", "L", "", "c2.jpg"],
        ["cohen-covid", "SARS", "cohen:3", "AP Supine", "", "c3.jpg"],
        ["cohen-covid", "todo", "cohen:4", "", "", "c4.jpg"],
        ["figure1-covid", "COVID-19", "figure1:1", "", "50+", "f1.jpg"],
        ["kermany-224", "Normal", "kermany:1", "", "", "k1.jpeg"],
        ["kermany-224", "Bacterial pneumonia", "kermany:2", "", "", "k2.jpeg"],
        ["kermany-224", "Viral pneumonia", "kermany:3", "", "", "k3.jpeg"],
        ["synthetic-1", "No Finding", "synthetic:1", "PA", "", "s1.png"],
        ["synthetic-1", "Pneumonia", "synthetic:2", "PA", "", "s2.png"],
        ["synthetic-1", "Mass", "synthetic:3", "PA", "", "s3.png"],
        ["synthetic-1", "COVID-19", "synthetic:4", "PA", "", "s4.png"],
    ])
}

fn items(name: &str) -> Vec<(usize, usize)> {
    LabelMap::named(name).unwrap().apply(&world()).unwrap().items
}

fn map(text: &str) -> Result<LabelMap, String> {
    LabelMap::parse(&format!("format = \"radiograd-labels-1\"\nname = \"x\"\n{text}"))
}

#[test]
fn every_built_in_map_reads_and_carries_its_name() {
    for name in names() {
        let map = LabelMap::named(name).unwrap_or_else(|e| panic!("{e}"));
        assert!(map.name == name && !map.title.is_empty());
        assert!(builtin::text(name).unwrap().starts_with("# "), "{name}: no source");
        map.apply(&world()).unwrap_or_else(|e| panic!("{e}"));
        let again: LabelMap = toml::from_str(&toml::to_string(&map).unwrap()).unwrap();
        assert_eq!(again, map);
    }
}

#[test]
fn the_papers_classes_on_one_small_world() {
    // Pneumonia beside another finding is no "disease"; the child stays; record 2 and 4 are of no class.
    assert_eq!(items("normal-disease"), [(0, 0), (1, 1), (3, 0), (13, 0), (15, 1)]);
    // Adults: without the NIH child and without Kermany; without COVID-19.
    assert_eq!(items("hernandez-stage1"), [(0, 0), (1, 1), (2, 1), (7, 1), (8, 1), (13, 0), (14, 1), (15, 1)]);
    assert_eq!(
        items("hernandez-binary"),
        [(0, 0), (1, 0), (2, 0), (5, 1), (7, 0), (8, 0), (9, 1), (13, 0), (14, 0), (15, 0), (16, 1)]
    );
    assert_eq!(items("hernandez-covid"), [(0, 0), (2, 1), (5, 2), (7, 1), (9, 2), (13, 0), (14, 1), (16, 2)]);
    // COVID-19 from Cohen alone, the rest from Kermany alone.
    assert_eq!(items("balvinsson-covid"), [(5, 1), (10, 0), (11, 0), (12, 0), (13, 0), (14, 0), (16, 1)]);
    assert_eq!(items("balvinsson-viral"), [(5, 1), (12, 0), (14, 0), (16, 1)]);
    assert_eq!(items("zhong"), [(5, 0), (9, 0), (10, 1), (11, 2), (12, 2), (13, 1), (14, 2), (16, 0)]);
    assert_eq!(
        items("gao-wang-stage1"),
        [(5, 2), (7, 2), (9, 2), (10, 0), (11, 1), (12, 2), (13, 0), (14, 1), (16, 2)]
    );
    assert_eq!(
        items("gao-wang-stage2"),
        [(5, 1), (7, 2), (9, 1), (10, 0), (11, 0), (12, 2), (13, 0), (14, 0), (15, 2), (16, 1)]
    );
    assert_eq!(items("synthetic"), [(13, 0), (14, 1), (15, 2), (16, 3)]);
}

#[test]
fn what_is_left_out_is_counted_by_reason() {
    let labelled = LabelMap::named("hernandez-covid").unwrap().apply(&world()).unwrap();
    let why: Vec<(&str, usize)> = labelled.dropped.iter().map(|(k, n)| (k.as_str(), *n)).collect();
    let want = [
        ("also in another source, used there", 1),
        ("child", 4),
        ("finding of no class: mass", 1),
        ("finding of no class: todo", 1),
        ("not frontal", 1),
        ("several findings that make no class", 1),
    ];
    assert_eq!(why, want);
    assert_eq!(labelled.counts(), [2, 3, 3]);
    assert_eq!(labelled.items.len() + labelled.dropped.values().sum::<usize>(), world().records.len());
    let text = labelled.to_string();
    assert!(text.starts_with("healthy         2\n") && text.contains("left out: 4 x child\n"), "{text}");
    let many = (0..20).map(|k| (format!("reason {k}"), k + 1)).collect();
    let long = Labelled { dropped: many, ..labelled }.to_string();
    assert!(
        long.contains("left out: 20 x reason 19\n") && long.ends_with("left out: 45 for 9 other reasons\n"),
        "{long}"
    );
    let zhong = LabelMap::named("zhong").unwrap().apply(&world()).unwrap();
    assert_eq!(zhong.dropped["no finding of collection nih is not used"], 2);
}

#[test]
fn views_children_sources_and_slices() {
    let rules = "classes = [\"a\", \"b\"]\n[[rule]]\nclass = \"a\"\nany_of = [\"No_Finding\", \"Normal\"]\n\
        [[rule]]\nclass = \"b\"\nany_of = [\"*\"]\n";
    let mut records = world();
    records.records[7].modality = Some("CT".into());
    records.records[8].view = Some("Axial".into());
    let count = |head: &str| map(&format!("{head}\n{rules}")).unwrap().apply(&records).unwrap();
    assert_eq!(count("views = \"frontal\"").dropped["CT slice"], 2);
    assert_eq!(count("views = \"frontal\"").dropped["not frontal"], 1);
    let all = count("views = \"all\"").dropped;
    assert_eq!(
        all.into_iter().collect::<Vec<_>>(),
        [("CT slice".into(), 2), ("also in another source, used there".into(), 1)]
    );
    assert_eq!(count("children = \"only\"").items, [(3, 0), (10, 0), (11, 1), (12, 1)]);
    assert_eq!(count("children = \"out\"").dropped["child"], 4);
    let one = count("sources = [\"nih-a\"]");
    assert_eq!((one.items, one.dropped["source kermany-224 is not used"]), (vec![(0, 0), (1, 1), (2, 1), (3, 0)], 3));
    // The same name in one source is nothing; in another source of the collection it is the same image, whatever its class.
    let twice = data(&[
        ["nih-a", "Mass", "nih:1", "", "", "frontal.png"],
        ["nih-a", "Mass", "nih:2", "", "", "frontal.png"],
        ["nih-b", "Normal", "nih:1", "", "", "frontal.png"],
        ["other", "Normal", "other:1", "", "", "frontal.png"],
    ]);
    let labelled = map(rules).unwrap().apply(&twice).unwrap();
    assert_eq!(labelled.items, [(0, 1), (1, 1), (3, 0)]);
    assert_eq!(labelled.dropped["also in another source with another class, used there"], 1);
}

#[test]
fn a_rule_can_name_sources_and_the_first_that_fits_wins() {
    let text = "classes = [\"a\", \"b\"]\n[[rule]]\nclass = \"a\"\nany_of = [\"pneumonia\", \"no finding\"]\n\
        none_of = [\"effusion\"]\nsources = [\"nih-a\", \"nih-b\"]\n[[rule]]\nclass = \"b\"\nany_of = [\"*pneumonia\"]\n";
    let labelled = map(text).unwrap().apply(&world()).unwrap();
    assert_eq!(labelled.items, [(0, 0), (2, 1), (3, 0), (11, 1), (12, 1), (14, 1)]);
}

#[test]
fn errors_say_what_there_is() {
    let e = LabelMap::named("hernandes-covid").unwrap_err();
    assert!(e.exit_code() == 2 && e.to_string().contains("did you mean 'hernandez-covid'"), "{e}");
    let only = data(&[["mine", "Mass", "", "", "", ""], ["mine", "Normal", "", "", "", ""]]);
    let e = LabelMap::named("zhong").unwrap().apply(&only).unwrap_err();
    for part in [
        "no image of class covid19",
        "collections cohen, figure1",
        "mass 1",
        "collections: mine",
        "1 x normal of collection mine is not used",
    ] {
        assert!(e.exit_code() == 5 && e.to_string().contains(part), "{part}: {e}");
    }
    assert!(LabelMap::named("synthetic").unwrap().apply(&Dataset::default()).is_err());
    let rule = "[[rule]]\nclass = \"a\"\nany_of = [\"x\"]\n";
    let other = "[[rule]]\nclass = \"b\"\nany_of = [\"y\"]\n";
    for (text, needle) in [
        ("classes = [\"a\"]\nrule = []", "two or more names"),
        ("classes = [\"a\", \"a\"]\nrule = []", "two or more names"),
        (&format!("classes = [\"a\", \"b\"]\n{rule}"), "class \"b\" has no rule"),
        (&format!("classes = [\"a\", \"c\"]\n{rule}{other}"), "rule 2: class \"b\" is none of"),
        ("classes = [\"a\", \"b\"]\n[[rule]]\nclass = \"a\"\nany_of = []", "findings are needed in any_of"),
        ("classes = [\"a\", \"b\"]\n[[rule]]\nclass = \"a\"\nany_of = [\" \"]", "none of them empty"),
        (&format!("classes = [\"a\", \"b\"]\nview = \"all\"\n{rule}{other}"), "unknown field `view`"),
        (&format!("classes = [\"a\", \"b\"]\nviews = \"some\"\n{rule}{other}"), "unknown variant `some`"),
    ] {
        let e = map(text).unwrap_err();
        assert!(e.contains(needle), "{text}\n{e}");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("m.toml");
    std::fs::write(&path, format!("format = \"other\"\nname = \"x\"\nclasses = [\"a\", \"b\"]\n{rule}{other}"))
        .unwrap();
    let e = LabelMap::open(&path.display().to_string()).unwrap_err();
    assert!(e.exit_code() == 5 && e.to_string().contains("\"radiograd-labels-1\" is needed"), "{e}");
    assert_eq!(LabelMap::open("nowhere.toml").unwrap_err().exit_code(), 1);
    assert_eq!(LabelMap::open("zhong").unwrap(), LabelMap::named("zhong").unwrap());
}
