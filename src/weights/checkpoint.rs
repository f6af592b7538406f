//! Checkpoints: everything a training needs to go on as if it had never stopped, in one safetensors file, written
//! atomically. What is read back is bit for bit what was written, or an error.
//!
//! Tensors are `param/NAME` (batch norm's running statistics are parameters too), `moment0/NAME`, `moment1/NAME` and
//! `extra/NAME`, all F32 in the world's layout. The counters, the configuration and the digests lie as JSON under the
//! metadata key `state`; floating-point state there is written as its bits.

use super::file::{DATA_DIGEST, Precision, StoredTensor, WeightsFile, encode};
use super::load::{LoadOptions, assign};
use super::{Metadata, dims};
use crate::error::{Error, Result};
use crate::files::{hex, write_atomic};
use crate::nn::ParamStore;
use crate::nn::optim::OptimizerState;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::path::Path;

/// Value of the metadata key `format`.
pub const FORMAT: &str = "radiograd-checkpoint-1";

/// Metadata keys of the state and of its SHA-256.
const STATE: [&str; 2] = ["state", "state_sha256"];

/// Named numbers with their dimensions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Array {
    /// Dimensions, the world's.
    pub dims: Vec<usize>,
    /// Numbers, row-major.
    pub values: Vec<f32>,
}

/// A training between two steps.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Checkpoint {
    /// The network's name.
    pub network: String,
    /// Epoch, from 0, that the next step belongs to.
    pub epoch: u64,
    /// Steps of this epoch that are done.
    pub step: u64,
    /// All parameters, frozen ones and running statistics included.
    pub params: BTreeMap<String, Array>,
    /// The optimizer's moments in the order of its own, each by parameter, world layout.
    pub moments: Vec<BTreeMap<String, Vec<f32>>>,
    /// The optimizer's counters.
    pub optimizer: OptimizerState,
    /// Random counters and seeds by name, and whatever else is a whole number (`f64::to_bits` for what is not).
    pub counters: BTreeMap<String, u64>,
    /// Further rows of numbers: the best parameters so far, curves.
    pub extra: BTreeMap<String, Array>,
    /// The run's configuration, as text that is compared to the letter when a training resumes.
    pub config: String,
    /// Digest of the data and their split.
    pub data_digest: String,
}

/// What lies under the metadata key `state`.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    network: String,
    epoch: u64,
    step: u64,
    moments: usize,
    optimizer_steps: u64,
    optimizer_product_bits: u64,
    counters: BTreeMap<String, u64>,
    config: String,
    data_digest: String,
}

impl Checkpoint {
    /// A checkpoint with the parameters of `store`; the other fields are empty.
    pub fn of(network: &str, store: &ParamStore) -> Checkpoint {
        let array = |p: &crate::nn::Param| Array { dims: dims(&p.name, p.shape), values: p.values.clone() };
        let params = store.params.iter().map(|p| (p.name.clone(), array(p))).collect();
        Checkpoint { network: network.into(), params, ..Default::default() }
    }

    /// Writes the checkpoint to `path`; a file that was there stays until the new one is complete.
    ///
    /// # Errors
    /// [`Error::Numerics`] naming what is not finite (resuming from it would be of no use); [`Error::Internal`] when a
    /// moment has no parameter of its size; [`Error::Io`].
    pub fn write(&self, path: &Path) -> Result<()> {
        self.check().map_err(|e| match e {
            Fault::Numerics(m) => Error::Numerics(format!("{}: not written, {m}", path.display())),
            Fault::Structure(m) => Error::Internal(format!("{}: not written, {m}", path.display())),
        })?;
        let mut named: Vec<(String, Vec<usize>, &[f32])> = Vec::new();
        let groups = [("param", &self.params), ("extra", &self.extra)];
        for (group, arrays) in groups {
            named.extend(arrays.iter().map(|(n, a)| (format!("{group}/{n}"), a.dims.clone(), a.values.as_slice())));
        }
        for (m, moments) in self.moments.iter().enumerate() {
            let dims = |n: &str| self.params.get(n).map(|p| p.dims.clone()).unwrap_or_default();
            named.extend(moments.iter().map(|(n, v)| (format!("moment{m}/{n}"), dims(n), v.as_slice())));
        }
        let state = State {
            network: self.network.clone(),
            epoch: self.epoch,
            step: self.step,
            moments: self.moments.len(),
            optimizer_steps: self.optimizer.steps,
            optimizer_product_bits: self.optimizer.product.to_bits(),
            counters: self.counters.clone(),
            config: self.config.clone(),
            data_digest: self.data_digest.clone(),
        };
        let state = serde_json::to_string(&state).map_err(|e| Error::Internal(format!("checkpoint: {e}")))?;
        let digest = hex(&Sha256::digest(&state));
        let info = [("format", FORMAT.to_string()), (STATE[0], state), (STATE[1], digest)];
        let info: Metadata = info.into_iter().map(|(k, v)| (k.to_string(), v)).collect();
        let items = named.iter().map(|(n, d, v)| (n.as_str(), d.clone(), *v, Precision::F32)).collect();
        write_atomic(path, &encode(items, &info)?)
    }

    /// Reads a checkpoint and checks it: digests of numbers and state, every tensor's place, everything finite.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Format`] saying what is wrong with the file.
    pub fn read(path: &Path) -> Result<Checkpoint> {
        let file = WeightsFile::open(path)?;
        let bad = |reason: String| Error::format(path, reason);
        let info = file.metadata();
        match info.get("format").map(String::as_str) {
            Some(FORMAT) if info.contains_key(DATA_DIGEST) => {}
            Some(FORMAT) => return Err(bad("a checkpoint without the digest of its numbers".into())),
            Some(other) => return Err(bad(format!("no checkpoint: its format is '{other}', needed is '{FORMAT}'"))),
            None => return Err(bad(format!("no checkpoint: it names no format, needed is '{FORMAT}'"))),
        }
        file.verify()?;
        let [Some(state), Some(digest)] = STATE.map(|key| info.get(key)) else {
            return Err(bad("a checkpoint without its state".into()));
        };
        if *digest != hex(&Sha256::digest(state)) {
            return Err(bad("damaged: the state does not have the digest that the header names".into()));
        }
        let state: State = serde_json::from_str(state).map_err(|e| bad(format!("the state is broken: {e}")))?;
        if state.moments > 8 {
            return Err(bad(format!("{} moments, possible are at most 8", state.moments)));
        }
        let mut read = Checkpoint {
            network: state.network,
            epoch: state.epoch,
            step: state.step,
            moments: vec![BTreeMap::new(); state.moments],
            optimizer: OptimizerState {
                steps: state.optimizer_steps,
                product: f64::from_bits(state.optimizer_product_bits),
            },
            counters: state.counters,
            config: state.config,
            data_digest: state.data_digest,
            ..Default::default()
        };
        for tensor in file.tensors() {
            read.take(tensor).map_err(bad)?;
        }
        read.check().map_err(|(Fault::Numerics(m) | Fault::Structure(m))| bad(m))?;
        Ok(read)
    }

    fn take(&mut self, tensor: StoredTensor) -> Result<(), String> {
        let values = match (tensor.data.kind(), tensor.data.to_f32()) {
            ("F32", Some(values)) => values,
            (kind, _) => return Err(format!("{} is {kind}, needed is F32", tensor.name)),
        };
        let Some((group, name)) = tensor.name.split_once('/') else {
            return Err(format!("{} has no place in a checkpoint", tensor.name));
        };
        let array = Array { dims: tensor.dims, values };
        let moment = group.strip_prefix("moment").and_then(|m| m.parse::<usize>().ok());
        match (group, moment.and_then(|m| self.moments.get_mut(m))) {
            ("param", _) => drop(self.params.insert(name.into(), array)),
            ("extra", _) => drop(self.extra.insert(name.into(), array)),
            (_, Some(moments)) => drop(moments.insert(name.into(), array.values)),
            _ => return Err(format!("{} has no place in this checkpoint", tensor.name)),
        }
        Ok(())
    }

    /// Whether everything is finite and of the size it says.
    fn check(&self) -> Result<(), Fault> {
        for (name, array) in self.params.iter().chain(&self.extra) {
            if array.dims.iter().product::<usize>() != array.values.len() {
                let (dims, n) = (&array.dims, array.values.len());
                return Err(Fault::Structure(format!("{name}: {n} numbers for the shape {dims:?}")));
            }
        }
        for (m, (name, values)) in self.moments.iter().enumerate().flat_map(|(m, map)| map.iter().map(move |e| (m, e)))
        {
            match self.params.get(name).map(|p| p.values.len()) {
                Some(n) if n == values.len() => {}
                Some(n) => {
                    let have = values.len();
                    return Err(Fault::Structure(format!(
                        "moment {m} of {name}: {have} numbers, the parameter has {n}"
                    )));
                }
                None => return Err(Fault::Structure(format!("moment {m} of {name}, which is no parameter"))),
            }
        }
        let params = self.params.iter().map(|(n, a)| (n, &a.values));
        let moments = self.moments.iter().flatten();
        match params.chain(moments).find(|(_, v)| v.iter().any(|x| !x.is_finite())) {
            Some((name, _)) => Err(Fault::Numerics(format!("{name} or a moment of it holds a NaN or an infinity"))),
            None if !self.optimizer.product.is_finite() => {
                Err(Fault::Numerics("the optimizer's product of momenta is not finite".into()))
            }
            None => Ok(()),
        }
    }

    /// Whether this run may go on from here: the same network, configuration and data.
    ///
    /// # Errors
    /// [`Error::Usage`] naming what differs.
    pub fn check_resumes(&self, network: &str, config: &str, data_digest: &str) -> Result<()> {
        let pairs = [("network", self.network.as_str(), network), ("data digest", &self.data_digest, data_digest)];
        let differs = pairs.iter().filter(|(_, was, is)| was != is);
        let mut lines: Vec<_> =
            differs.map(|(what, was, is)| format!("the {what} was '{was}' and is '{is}'")).collect();
        // Of a configuration of several lines only those that differ are shown.
        let (was, is): (Vec<&str>, Vec<&str>) = (self.config.lines().collect(), config.lines().collect());
        let only = |these: &[&str], those: &[&str]| -> Vec<String> {
            these.iter().filter(|l| !those.contains(l)).map(|l| l.to_string()).collect()
        };
        if self.config != config {
            let (was, is) = (only(&was, &is).join(", "), only(&is, &was).join(", "));
            lines.push(format!("the configuration was '{was}' and is '{is}'"));
        }
        if lines.is_empty() {
            return Ok(());
        }
        Err(Error::Usage(format!("cannot resume from the checkpoint: {}", lines.join("; "))))
    }

    /// Gives `store` the checkpoint's parameters; every name and shape must be the same. On an error `store` stays as it
    /// was.
    ///
    /// # Errors
    /// [`Error::Data`] with the key report's problems.
    pub fn restore(&self, store: &mut ParamStore) -> Result<()> {
        let tensor = |(n, a): (&String, &Array)| StoredTensor::owned(n.clone(), a.dims.clone(), a.values.clone());
        let (report, values) =
            assign(self.params.iter().map(tensor).collect(), store, &LoadOptions::default(), &self.network);
        let problems = report.problems(true);
        if !problems.is_empty() {
            return Err(Error::Data(format!("the checkpoint does not fit the network: {}", problems.join("; "))));
        }
        store.params.iter_mut().zip(values).for_each(|(p, v)| p.values = v.unwrap_or_default());
        Ok(())
    }
}

/// Why a checkpoint is none.
enum Fault {
    Numerics(String),
    Structure(String),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::Network;

    pub(in crate::weights) fn example() -> Checkpoint {
        let store = Network::named("detl12").unwrap().init(36, 3, 5);
        let mut c = Checkpoint::of("detl12", &store);
        // Numbers that decimal text would not keep.
        let odd = [f32::MIN_POSITIVE / 8.0, -0.0, 0.1, f32::MAX];
        for m in 0..2 {
            let moment = |(i, (n, a)): (usize, (&String, &Array))| {
                (n.clone(), (0..a.values.len()).map(|k| odd[(k + i + m) % 4]).collect())
            };
            c.moments.push(c.params.iter().enumerate().map(moment).collect());
        }
        (c.epoch, c.step) = (3, 17);
        c.optimizer = OptimizerState { steps: u64::MAX - 3, product: 0.1 + 0.2 };
        c.counters = [("dropout".into(), u64::MAX), ("best".into(), 0.3f64.to_bits())].into();
        c.extra.insert("curve".into(), Array { dims: vec![2, 2], values: vec![1.0, f32::NAN, 0.5, 0.25] });
        c.config = "{\"lr\":0.30000000000000004}\n\"quoted\"".into();
        c.data_digest = "abc".into();
        c
    }

    #[test]
    fn a_checkpoint_comes_back_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.safetensors");
        let c = example();
        c.write(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let back = Checkpoint::read(&path).unwrap();
        // A NaN among the curves does not equal itself: compared by what is written.
        back.write(&path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), bytes);
        assert_eq!((&back.params, &back.moments, &back.counters), (&c.params, &c.moments, &c.counters));
        assert_eq!((back.optimizer, back.epoch, back.step, &back.config), (c.optimizer, 3, 17, &c.config));
        let minus = c.moments[0].values().flatten().zip(back.moments[0].values().flatten());
        assert!(minus.into_iter().all(|(a, b)| a.to_bits() == b.to_bits()));

        let net = Network::named("detl12").unwrap();
        let mut store = net.init(36, 3, 9);
        back.restore(&mut store).unwrap();
        assert_eq!(store.digest(), net.init(36, 3, 5).digest());
        let mut four = net.init(36, 4, 9);
        let before = four.digest();
        let e = back.restore(&mut four).unwrap_err().to_string();
        assert!(e.contains("fc3.weight is [3, 128], needed is [4, 128]"), "{e}");
        assert_eq!(four.digest(), before);

        back.check_resumes("detl12", &c.config, "abc").unwrap();
        let e = back.check_resumes("detl12", &c.config, "abd").unwrap_err();
        assert!(e.to_string().contains("data digest was 'abc' and is 'abd'") && e.exit_code() == 2, "{e}");
    }

    #[test]
    fn what_is_no_sound_checkpoint_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("c.safetensors");
        let c = example();
        let refused = |c: &Checkpoint| c.write(&path).unwrap_err().to_string();
        let mut broken = c.clone();
        broken.moments[1].get_mut("fc1.bias").unwrap()[0] = f32::INFINITY;
        assert!(refused(&broken).contains("fc1.bias or a moment of it"));
        let mut broken = c.clone();
        broken.moments[0].insert("nobody".into(), vec![1.0]);
        assert!(refused(&broken).contains("moment 0 of nobody, which is no parameter"));
        assert!(!path.exists(), "nothing is written");

        c.write(&path).unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let with = |at: usize, change: u8| {
            let mut b = bytes.clone();
            b[at] ^= change;
            std::fs::write(&path, &b).unwrap();
            Checkpoint::read(&path).unwrap_err().to_string()
        };
        assert!(with(bytes.len() - 5, 1).contains("the numbers do not have the digest"));
        let at = bytes.windows(5).position(|w| w == b"epoch").unwrap();
        assert!(with(at + 8, 1).contains("the state does not have the digest"));

        let store = Network::named("detl12").unwrap().init(36, 3, 5);
        crate::weights::save(&path, &store, &Metadata::new()).unwrap();
        let e = Checkpoint::read(&path).unwrap_err().to_string();
        assert!(e.contains("no checkpoint: its format is 'radiograd-weights-1'"), "{e}");
    }
}
