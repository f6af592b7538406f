use super::*;
use crate::data::table::OpenOptions;

fn put(root: &Path, file: &str, text: impl AsRef<[u8]>) {
    let path = root.join(file);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

/// Opens a published manifest on a tree at `root`.
fn open(root: &Path, manifest: &str) -> Result<Dataset> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data-manifests").join(manifest);
    std::fs::copy(&file, root.join("m.toml")).unwrap();
    Dataset::open(&root.join("m.toml"), &OpenOptions::default())
}

fn brief(d: &Dataset) -> Vec<(String, String, Option<String>)> {
    d.records.iter().map(|r| (r.file.display().to_string(), r.finding.clone(), r.patient.clone())).collect()
}

fn row(file: &str, finding: &str, patient: &str) -> (String, String, Option<String>) {
    (file.into(), finding.into(), (!patient.is_empty()).then(|| patient.into()))
}

#[test]
fn every_published_manifest_parses_and_is_complete() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("data-manifests");
    let mut n = 0;
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "toml") {
            let m = parse(&path).unwrap();
            assert!([&m.title, &m.licence, &m.citation, &m.url, &m.notes].iter().all(|t| !t.is_empty()), "{}", m.name);
            assert_eq!(path.file_stem().unwrap().to_str().unwrap(), m.name);
            n += 1;
        }
    }
    assert_eq!(n, 8);
}

#[test]
fn nih_as_published() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    // The published header splits "OriginalImage[Width,Height]" into two names and ends in a comma.
    put(
        d,
        "Data_Entry_2017.csv",
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position,OriginalImage[Width,Height],OriginalImagePixelSpacing[x,y],\n\
        00000001_000.png,Cardiomegaly|Emphysema,0,1,058Y,M,PA,2682,2749,0.143,0.143,\n00000002_000.png,No Finding,0,2,81,F,AP,2500,2048,0.171,0.171,\n",
    );
    put(d, "images_001/images/00000001_000.png", "");
    put(d, "images_012/images/00000002_000.png", "");
    let data = open(d, "nih-chestxray14.toml").unwrap();
    let want = [
        row("images_001/images/00000001_000.png", "Cardiomegaly|Emphysema", "nih:1"),
        row("images_012/images/00000002_000.png", "No Finding", "nih:2"),
    ];
    assert_eq!(brief(&data), want);
    assert_eq!((data.records[0].age.as_deref(), data.records[1].view.as_deref()), (Some("058Y"), Some("AP")));
    std::fs::remove_dir_all(d.join("images_012")).unwrap();
    let e = open(d, "nih-chestxray14.toml").unwrap_err().to_string();
    assert!(e.contains("1 of 2 images are not there (first: images_001/images/00000002_000.png)"), "{e}");
    std::fs::remove_dir_all(d.join("images_001")).unwrap();
    assert!(open(d, "nih-chestxray14.toml").unwrap_err().to_string().contains("none of the folders"));
}

#[test]
fn cohen_and_figure1_as_published_and_together() {
    let dir = tempfile::tempdir().unwrap();
    let (c, f) = (dir.path().join("cohen"), dir.path().join("f1"));
    put(
        &c,
        "metadata.csv",
        "patientid,offset,sex,age,finding,view,modality,folder,filename\n\
        2,0,M,65,Pneumonia/Viral/COVID-19,PA,X-ray,images,a b.jpg\n12b,0,M,65,\"COVID-19, ARDS\",L,X-ray,images,c.png\n\
        4,0,F,,Pneumonia/Bacterial,PA,X-ray,images,d.png\n5,0,F,,todo,PA,X-ray,images,e.png\n6,,,,Pneumonia/Viral/COVID-19,Axial,CT,volumes,x.nii.gz\n",
    );
    for name in ["a b.jpg", "c.png", "d.png", "e.png"] {
        put(&c, &format!("images/{name}"), "");
    }
    put(&f, "metadata.csv", b"patientid,offset,sex,age,finding,view,modality,notes\n\
        COVID-00001,13,M,33,COVID-19,AP erect,X-ray,39\xb0C\nCOVID-00003a,,M,,COVID-19,,X-ray,\nCOVID-00003b,,M,,,,X-ray,\n");
    for name in ["COVID-00001.jpg", "COVID-00003a.png", "COVID-00003b.jpg"] {
        put(&f, &format!("images/{name}"), "");
    }
    let cohen = open(&c, "cohen.toml").unwrap();
    assert_eq!(
        brief(&cohen),
        [
            row("images/a b.jpg", "COVID-19", "cohen:2"),
            row("images/c.png", "COVID-19|ARDS", "cohen:12"),
            row("images/d.png", "Pneumonia/Bacterial", "cohen:4"),
        ]
    );
    let reasons: Vec<_> = cohen.dropped.iter().map(|(k, n)| (k.as_str(), *n)).collect();
    assert_eq!(reasons, [("cohen: modality is CT", 1), ("no finding", 1)]);
    let fig = open(&f, "figure1.toml").unwrap();
    assert_eq!(brief(&fig)[1], row("images/COVID-00003a.png", "COVID-19", "figure1:COVID-00003"));
    put(
        dir.path(),
        "all/both.toml",
        "format = \"radiograd-manifest-1\"\nname = \"both\"\n[[part]]\nmanifest = \"../cohen/m.toml\"\n\
        [[part]]\nmanifest = \"../cohen/m.toml\"\nroot = \"../copy\"\n[[part]]\nfolder = \"../plain\"\n",
    );
    put(dir.path(), "plain/metadata.csv", "file,finding\n1.png,Mass\n");
    put(dir.path(), "plain/1.png", "");
    put(
        dir.path(),
        "copy/metadata.csv",
        "patientid,sex,age,finding,view,modality,folder,filename\n9,,,COVID-19,,X-ray,i,z.png\n",
    );
    put(dir.path(), "copy/i/z.png", "");
    let both = Dataset::open(&dir.path().join("all/both.toml"), &OpenOptions::default()).unwrap();
    assert_eq!(both.root, dir.path().canonicalize().unwrap());
    let files: Vec<_> = both.records.iter().map(|r| r.file.display().to_string()).collect();
    assert_eq!(files[0], "cohen/images/a b.jpg");
    assert_eq!(files[3..], ["copy/i/z.png", "plain/1.png"]);
}

#[test]
fn kermany_as_published() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    for f in [
        "train/NORMAL/IM-0115-0001.jpeg",
        "train/NORMAL/NORMAL2-IM-0383-0001.jpeg",
        "train/PNEUMONIA/person12_bacteria_47.jpeg",
        "train/PNEUMONIA/person12_virus_48.jpeg",
        "test/NORMAL/odd.jpeg",
        "test/PNEUMONIA/person12_virus_1_2.jpeg",
        "test/PNEUMONIA/.DS_Store",
    ] {
        put(d, f, "");
    }
    let data = open(d, "kermany.toml").unwrap();
    let mut got = brief(&data);
    got.sort();
    assert_eq!(
        got,
        [
            row("test/NORMAL/odd.jpeg", "Normal", ""),
            row("test/PNEUMONIA/person12_virus_1_2.jpeg", "Viral pneumonia", "kermany:test-P12"),
            row("train/NORMAL/IM-0115-0001.jpeg", "Normal", "kermany:train-N0115"),
            row("train/NORMAL/NORMAL2-IM-0383-0001.jpeg", "Normal", "kermany:train-N0383"),
            row("train/PNEUMONIA/person12_bacteria_47.jpeg", "Bacterial pneumonia", "kermany:train-P12"),
            row("train/PNEUMONIA/person12_virus_48.jpeg", "Viral pneumonia", "kermany:train-P12"),
        ]
    );
    assert_eq!(data.notes, ["kermany: 1 file names tell no patient: each is its own"]);
    std::fs::remove_dir_all(d.join("test/NORMAL")).unwrap();
    assert!(open(d, "kermany.toml").unwrap_err().to_string().contains("no folder test/NORMAL"));
}

#[test]
fn bad_manifests_are_explained() {
    let head = "format = \"radiograd-manifest-1\"\nname = \"x\"\n";
    let table = "[table]\ncsv = \"t.csv\"\nfile = \"{f}\"\nlabel = \"l\"\n";
    let known = "known_labels = [\"a\"]\n";
    for (text, needle) in [
        ("name = \"x\"", "missing field `format`"),
        ("format = \"other\"\nname = \"x\"\n[[tree]]\nfolder = \"a\"", "format \"other\""),
        (head, "exactly one of [table], [[tree]] and [[part]]"),
        (&format!("{head}rooot = \"a\"\n{table}"), "unknown field `rooot`"),
        (&format!("{head}root = \"nowhere\"\n{table}"), "is no folder"),
        (&format!("{head}{table}"), "2 labels are not in the manifest: \"a\" (1 rows), \"b\" (1 rows)"),
        (&format!("{head}{table}patient = \"p\""), "no column \"p\"; there are: f, l"),
        (&format!("{head}{known}unknown_labels = \"drop\"\n{table}folders = [\"../x\"]"), "leaves its folder"),
        (
            &format!(
                "{head}{known}unknown_labels = \"drop\"\n[table]\ncsv = \"t.csv\"\nfile = \"{{g}}\"\nlabel = \"l\""
            ),
            "names {g}",
        ),
        (
            &format!(
                "{head}{known}unknown_labels = \"drop\"\n[table]\ncsv = \"t.csv\"\nfile = \"../{{f}}\"\nlabel = \"l\""
            ),
            "leaves its folder",
        ),
        (&format!("{head}[[part]]\nroot = \".\""), "a [[part]] needs either"),
        (&format!("{head}[[part]]\nmanifest = \"m.toml\""), "more than 8 deep"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        put(dir.path(), "t.csv", "f,l\n1.png,a\n2.png,b\n");
        put(dir.path(), "1.png", "");
        put(dir.path(), "m.toml", text);
        let e = Dataset::open(&dir.path().join("m.toml"), &OpenOptions::default()).unwrap_err();
        assert!(e.to_string().contains(needle) && e.exit_code() == 5, "{text}\n{e}");
    }
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "t.csv", "f,l\n1.png,a\n2.png,b\n");
    put(dir.path(), "1.png", "");
    put(dir.path(), "m.toml", format!("{head}{known}unknown_labels = \"drop\"\n{table}"));
    let data = Dataset::open(&dir.path().join("m.toml"), &OpenOptions::default()).unwrap();
    assert_eq!((data.records.len(), data.dropped["x: unknown label \"b\""]), (1, 1));
}

#[test]
fn rsna_as_published() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    // Two boxes in one image are two rows with the same class.
    put(
        d,
        "stage_2_detailed_class_info.csv",
        "patientId,class\n0004cfab-14fd,No Lung Opacity / Not Normal\n00436515-870c,Lung Opacity\n00436515-870c,Lung Opacity\n003d8fa0-6bf1,Normal\n",
    );
    for id in ["0004cfab-14fd", "00436515-870c", "003d8fa0-6bf1"] {
        put(d, &format!("stage_2_train_images/{id}.dcm"), "");
    }
    let data = open(d, "rsna.toml").unwrap();
    let want = [
        row("stage_2_train_images/0004cfab-14fd.dcm", "No Lung Opacity / Not Normal", ""),
        row("stage_2_train_images/00436515-870c.dcm", "Lung Opacity", ""),
        row("stage_2_train_images/003d8fa0-6bf1.dcm", "Normal", ""),
    ];
    assert_eq!(brief(&data), want);
    assert_eq!(data.dropped["row listed twice"], 1);
    // A repeated row that says something else is an error, not a choice.
    put(d, "stage_2_detailed_class_info.csv", "patientId,class\n003d8fa0-6bf1,Normal\n003d8fa0-6bf1,Lung Opacity\n");
    let e = open(d, "rsna.toml").unwrap_err().to_string();
    assert!(e.contains("1 rows repeat a file with another finding"), "{e}");
}

const CHEXPERT: &str = "Path,Sex,Age,Frontal/Lateral,AP/PA,No Finding,Enlarged Cardiomediastinum,Cardiomegaly,Lung Opacity,\
    Lung Lesion,Edema,Consolidation,Pneumonia,Atelectasis,Pneumothorax,Pleural Effusion,Pleural Other,Fracture,Support Devices\n";

#[test]
fn chexpert_as_published() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    let train = [
        "CheXpert-v1.0-small/train/patient00001/study1/view1_frontal.jpg,Female,68,Frontal,AP,1.0,,,,,,,,,0.0,,,,1.0\n",
        "CheXpert-v1.0-small/train/patient00002/study2/view1_frontal.jpg,Female,87,Frontal,PA,,,-1.0,1.0,,-1.0,-1.0,,-1.0,,-1.0,,1.0,\n",
        "CheXpert-v1.0-small/train/patient00002/study2/view2_lateral.jpg,Female,87,Lateral,,,,,1.0,,,,,,,,,,\n",
        "CheXpert-v1.0-small/train/patient00003/study1/view1_frontal.jpg,Male,41,Frontal,AP,,,,,,-1.0,,,,,,,,\n",
    ];
    put(d, "train.csv", CHEXPERT.to_string() + &train.concat());
    let valid = "CheXpert-v1.0-small/valid/patient64541/study1/view1_frontal.jpg,Male,73,Frontal,AP,0.0,1.0,1.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0,0.0\n";
    put(d, "valid.csv", CHEXPERT.to_string() + valid);
    for text in train.iter().chain([&valid]) {
        let name = text.split(',').next().unwrap().strip_prefix("CheXpert-v1.0-small/").unwrap();
        put(d, name, "");
    }
    let data = open(d, "chexpert.toml").unwrap();
    let at = |n: &str| format!("train/patient{n}");
    let want = [
        row(&(at("00001") + "/study1/view1_frontal.jpg"), "No Finding|Support Devices", "chexpert:1"),
        row(&(at("00002") + "/study2/view1_frontal.jpg"), "Lung Opacity|Fracture", "chexpert:2"),
        row(&(at("00002") + "/study2/view2_lateral.jpg"), "Lung Opacity", "chexpert:2"),
        row("valid/patient64541/study1/view1_frontal.jpg", "Enlarged Cardiomediastinum|Cardiomegaly", "chexpert:64541"),
    ];
    assert_eq!(brief(&data), want);
    assert_eq!(data.dropped["no finding"], 1, "an uncertain oedema is none");
    let [a, _, lateral, valid] = &data.records[..] else { panic!("4 records") };
    assert_eq!((a.view.as_deref(), lateral.view.as_deref()), (Some("AP"), Some("Lateral")));
    assert_eq!((a.split.as_deref(), valid.split.as_deref()), (Some("train"), Some("valid")));
    assert!(a.is_frontal() && !lateral.is_frontal() && a.age.as_deref() == Some("68"));
    // The other rules for what is uncertain.
    let text = std::fs::read_to_string(d.join("m.toml")).unwrap();
    let with = |policy: &str| {
        put(d, "m.toml", text.replace("uncertain = \"zeros\"\n", policy));
        Dataset::open(&d.join("m.toml"), &OpenOptions::default())
    };
    let ones = with("uncertain = \"ones\"\n").unwrap();
    let second = "Cardiomegaly|Lung Opacity|Edema|Consolidation|Atelectasis|Pleural Effusion|Fracture";
    assert_eq!((ones.records.len(), ones.records[1].finding.as_str()), (5, second));
    let drop = with("uncertain = \"drop\"\n").unwrap();
    assert_eq!((drop.records.len(), drop.dropped["chexpert: an uncertain finding"]), (3, 2));
    let e = with("").unwrap_err();
    assert!(e.exit_code() == 5 && e.to_string().contains("6 cells of label_columns are -1"), "{e}");
    // Damaged tables.
    for (cell, needle) in [
        ("elsewhere/patient1.jpg,F,1,Frontal,AP,,,,,,,,,,,,,,", "does not fit \"{release}/{set}/patient{n}/{image}\""),
        ("x/train/patient1/a.jpg,F,1,Frontal,AP,yes,,,,,,,,,,,,,", "row 1: No Finding is \"yes\""),
        ("x/train/patient1/../../../a.jpg,F,1,Frontal,AP,1,,,,,,,,,,,,,", "leaves its folder"),
    ] {
        put(d, "train.csv", CHEXPERT.to_string() + cell + "\n");
        let e = open(d, "chexpert.toml").unwrap_err();
        assert!(e.exit_code() == 5 && e.to_string().contains(needle), "{e}");
    }
}

#[test]
fn actualmed_as_published() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    put(
        d,
        "metadata.csv",
        "patientid,offset,sex,age,finding,survival,temperature,pO2 saturation,view,modality,imagename,artifacts/distortion,notes\n\
        ANON196,,,,,,,,PA,X-ray,CR.1.png,,\"Inconclusive, date taken (YYYYMMDD): 20200313\"\n\
        ANON196,,,,COVID-19,,,,AP,X-ray,DX.2.png,,\", date taken (YYYYMMDD): 20200318\"\n\
        ANON56,,,,No finding,,,,PA,X-ray,CR.3.png,,\n",
    );
    for name in ["CR.1.png", "DX.2.png", "CR.3.png"] {
        put(d, &format!("images/{name}"), "");
    }
    let data = open(d, "actualmed.toml").unwrap();
    let want = [
        row("images/DX.2.png", "COVID-19", "actualmed:ANON196"),
        row("images/CR.3.png", "No finding", "actualmed:ANON56"),
    ];
    assert_eq!((brief(&data), data.dropped["no finding"]), (want.to_vec(), 1));
    let r = &data.records[0];
    assert_eq!((r.view.as_deref(), r.modality.as_deref(), r.sex.as_deref()), (Some("AP"), Some("X-ray"), None));
}

#[test]
fn synthetic_sources_and_masks() {
    let dir = tempfile::tempdir().unwrap();
    let d = dir.path();
    put(
        d,
        "metadata.csv",
        "file,finding,patient_id,sex,age,view,modality,original_name,original_width,original_height,source,collection,mask,lung_mask,letter\n\
        images/a.png,No Finding,0,,,PA,X-ray,a.png,64,64,synthetic-1,synthetic,,lungs/a.png,R\n\
        images/b.png,Mass,2,,,PA,X-ray,b.png,64,64,synthetic-2,synthetic,masks/b.png,lungs/b.png,\n",
    );
    for name in ["images/a.png", "images/b.png", "lungs/a.png", "lungs/b.png", "masks/b.png"] {
        put(d, name, "");
    }
    let data = open(d, "synthetic.toml").unwrap();
    let [a, b] = &data.records[..] else { panic!("2 records") };
    assert_eq!((a.mask.as_deref(), a.lung_mask.as_deref()), (None, Some(Path::new("lungs/a.png"))));
    assert_eq!((b.mask.as_deref(), b.source.as_str()), (Some(Path::new("masks/b.png")), "synthetic-2"));
    assert_eq!(data.origins.keys().collect::<Vec<_>>(), ["synthetic-1", "synthetic-2"]);
    // As a folder it says the same.
    let folder = Dataset::open(d, &OpenOptions::default()).unwrap();
    assert_eq!((&folder.records, folder.notes.len()), (&data.records, 0));
    assert!(folder.origins.values().all(|o| o.assumed && o.title == data.origins["synthetic-1"].title));
    // In a union the masks move with the images.
    put(
        d,
        "two/x.toml",
        "format = \"radiograd-manifest-1\"\nname = \"x\"\n[[part]]\nfolder = \"../one\"\n[[part]]\nmanifest = \"../m.toml\"\n",
    );
    put(d, "one/metadata.csv", "file,finding\n1.png,Mass\n");
    put(d, "one/1.png", "");
    let both = Dataset::open(&d.join("two/x.toml"), &OpenOptions::default()).unwrap();
    let file = |r: &crate::data::table::Record| both.root.join(r.lung_mask.as_ref().unwrap()).is_file();
    assert!(both.records.len() == 3 && both.records[1..].iter().all(file));
    // A mask that is named must be there, unless files may be missing.
    std::fs::remove_file(d.join("masks/b.png")).unwrap();
    let e = open(d, "synthetic.toml").unwrap_err();
    assert!(e.exit_code() == 5 && e.to_string().contains("1 masks are not there (first: masks/b.png)"), "{e}");
    let left =
        Dataset::open(&d.join("m.toml"), &OpenOptions { allow_missing: true, ..OpenOptions::default() }).unwrap();
    assert_eq!((left.records.len(), left.records[1].mask.as_ref()), (2, None));
    assert_eq!(left.notes, ["1 masks are not there: these images have none"]);
}

#[test]
fn tables_need_one_kind_of_label() {
    let dir = tempfile::tempdir().unwrap();
    put(dir.path(), "t.csv", "f,l\n1.png,a\n");
    put(dir.path(), "1.png", "");
    for (label, needle) in [
        ("", "either label or label_columns"),
        ("label = \"l\"\nlabel_columns = [\"l\"]", "either label or label_columns"),
        ("label_columns = [\"nothing\"]", "no column \"nothing\""),
        ("label_columns = [\"l\"]\nuncertain = \"maybe\"", "unknown variant `maybe`"),
        ("label = \"l\"\npatient = \"{p}\"", "names {p}"),
        ("label = \"l\"\nview = [\"f\", \"v\"]", "no column \"v\""),
        ("label = \"l\"\ncapture = { column = \"p\", pattern = \"{n}\" }", "no column \"p\""),
    ] {
        let head = "format = \"radiograd-manifest-1\"\nname = \"x\"\nknown_labels = [\"a\"]\n[table]\ncsv = \"t.csv\"\nfile = \"{f}\"\n";
        put(dir.path(), "m.toml", format!("{head}{label}\n"));
        let e = Dataset::open(&dir.path().join("m.toml"), &OpenOptions::default()).unwrap_err();
        assert!(e.to_string().contains(needle) && e.exit_code() == 5, "{label}\n{e}");
    }
}
