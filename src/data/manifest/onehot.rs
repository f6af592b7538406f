//! Findings that a table writes as one column each (CheXpert, VinDr, RSNA's Target).

use super::{Table, Uncertain};
use crate::data::text::Csv;
use crate::error::Result;

/// The columns, and what was counted on the way.
pub(crate) struct OneHot<'m> {
    columns: Vec<(usize, &'m str)>,
    uncertain: Option<Uncertain>,
    separator: &'m str,
    /// Cells that are -1 while the manifest does not say what that means.
    open: usize,
    /// Rows left out because of an uncertain finding.
    pub dropped: usize,
}

impl<'m> OneHot<'m> {
    /// Nothing where the table has its findings in one column.
    ///
    /// # Errors
    /// [`crate::Error::Format`] for a column that is not there.
    pub fn of(table: &Csv, t: &'m Table) -> Result<Option<OneHot<'m>>> {
        if t.label_columns.is_empty() {
            return Ok(None);
        }
        let columns = t.label_columns.iter().map(|n| Ok((table.column(n)?, n.as_str()))).collect::<Result<_>>()?;
        let separator = t.label_separator.as_deref().unwrap_or("|");
        Ok(Some(OneHot { columns, uncertain: t.uncertain, separator, open: 0, dropped: 0 }))
    }

    /// The findings of one row, joined; empty where there is none, nothing where the row is left out.
    ///
    /// # Errors
    /// The reason for a cell that is neither 1, 0, -1 nor empty.
    pub fn finding(&mut self, cells: &[String]) -> Result<Option<String>, String> {
        let (mut found, mut out) = (Vec::new(), false);
        for (c, name) in &self.columns {
            let text = &cells[*c];
            // CheXpert writes 1.0 and -1.0.
            match (text.parse::<f64>(), self.uncertain) {
                _ if text.is_empty() => {}
                (Ok(0.0), _) => {}
                (Ok(1.0), _) | (Ok(-1.0), Some(Uncertain::Ones)) => found.push(*name),
                (Ok(-1.0), Some(Uncertain::Zeros)) => {}
                (Ok(-1.0), Some(Uncertain::Drop)) => out = true,
                (Ok(-1.0), None) => self.open += 1,
                _ => return Err(format!("{name} is {text:?}; 1, 0, -1 or nothing is needed")),
            }
        }
        self.dropped += usize::from(out);
        Ok((!out).then(|| found.join(self.separator)))
    }

    /// Checks that no uncertain finding was met without a rule for it.
    ///
    /// # Errors
    /// The reason.
    pub fn settled(&self) -> Result<(), String> {
        match self.open {
            0 => Ok(()),
            n => {
                Err(format!("{n} cells of label_columns are -1: uncertain = \"ones\", \"zeros\" or \"drop\" is needed"))
            }
        }
    }
}
