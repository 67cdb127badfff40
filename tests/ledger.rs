//! The ledger of requirements: every rule of the RFCs that the relay follows, what it does about it, and which tests show it.
//!
//! The ledger is kept in `tests/data/ledger`; `docs/rfc-ledger.md` is made from it. Here every name in it is looked up, so that
//! no test goes without its row noticing, and the page is compared. Whether the quotations are right is not checked: the
//! RFCs are not part of this repository.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use tests::case;

/// The ledgers, in the order of the page.
const LEDGERS: [&str; 5] = ["rfc7915", "rfc7757", "rfc6052", "rfc6791", "rfc7755"];

/// Set to 1, the page is written instead of compared.
const UPDATE: &str = "SIIT_RELAY_UPDATE_DOCS";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ledger {
    rfc: String,
    title: String,
    rows: Vec<Row>,
}

/// One requirement.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    clause: String,
    level: Level,
    text: String,
    does: Option<String>,
    shown_by: Option<Vec<String>>,
    not_applicable: Option<String>,
    not_done: Option<String>,
}

/// The requirement word (RFC 2119); `RULE` for sentences that say what to do without one.
#[derive(Clone, Copy, Debug, Deserialize)]
enum Level {
    #[serde(rename = "MUST")]
    Must,
    #[serde(rename = "MUST NOT")]
    MustNot,
    #[serde(rename = "SHOULD")]
    Should,
    #[serde(rename = "SHOULD NOT")]
    ShouldNot,
    #[serde(rename = "MAY")]
    May,
    #[serde(rename = "RECOMMENDED")]
    Recommended,
    #[serde(rename = "OPTIONAL")]
    Optional,
    #[serde(rename = "RULE")]
    Rule,
}

impl Level {
    fn name(self) -> &'static str {
        match self {
            Self::Must => "MUST",
            Self::MustNot => "MUST NOT",
            Self::Should => "SHOULD",
            Self::ShouldNot => "SHOULD NOT",
            Self::May => "MAY",
            Self::Recommended => "RECOMMENDED",
            Self::Optional => "OPTIONAL",
            Self::Rule => "",
        }
    }
}

/// How a row ends.
enum State<'r> {
    Shown(&'r [String]),
    NotApplicable(&'r str),
    NotDone(&'r str),
}

impl Row {
    fn state(&self) -> Result<State<'_>, &'static str> {
        match (&self.shown_by, &self.not_applicable, &self.not_done) {
            (Some(_), None, None) if self.does.is_none() => {
                Err("it does not say what the relay does")
            }
            (Some(names), None, None) if !names.is_empty() => Ok(State::Shown(names)),
            (None, Some(why), None) => Ok(State::NotApplicable(why)),
            (None, None, Some(why)) => Ok(State::NotDone(why)),
            _ => Err("it needs either `shown_by`, `not_applicable` or `not_done`"),
        }
    }
}

#[test]
fn every_row_is_shown_by_tests_that_exist_or_says_why_not() {
    let cases: BTreeSet<String> = case::load().into_iter().map(|case| case.title).collect();
    let tests = test_functions();
    assert!(
        tests.contains("tests::ledger::the_page_is_that_of_the_ledger"),
        "the search for tests finds nothing"
    );
    let mut failures = Vec::new();
    for ledger in ledgers() {
        for row in &ledger.rows {
            let mut fail =
                |why: &str| failures.push(format!("{}: \"{}\": {why}", row.clause, row.text));
            if !row.clause.starts_with(&format!("{}, ", ledger.rfc)) {
                fail(&format!("it is in the ledger of {}", ledger.rfc));
            }
            let names = match row.state() {
                Ok(State::Shown(names)) => names,
                Ok(State::NotApplicable(_) | State::NotDone(_)) => continue,
                Err(why) => {
                    fail(why);
                    continue;
                }
            };
            for name in names {
                match name.split_once(": ") {
                    Some(("case", title)) if cases.contains(title) => {}
                    Some(("case", title)) => fail(&format!("no case is called \"{title}\"")),
                    Some(("test", path)) if tests.contains(path) => {}
                    Some(("test", path)) => fail(&format!("there is no test {path}")),
                    _ => fail(&format!("\"{name}\" names neither a case nor a test")),
                }
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} rows are wrong\n\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn the_page_is_that_of_the_ledger() {
    let path = repository().join("docs/rfc-ledger.md");
    let page = page(&ledgers());
    if std::env::var(UPDATE).is_ok_and(|update| update == "1") {
        std::fs::create_dir_all(repository().join("docs")).expect("docs can be made");
        std::fs::write(&path, page).expect("the page can be written");
        return;
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == page,
        "{} is stale; `{UPDATE}=1 cargo test -p tests --test ledger` writes it anew",
        path.display()
    );
}

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this package lies in the repository")
}

fn ledgers() -> Vec<Ledger> {
    let read = |name: &&str| {
        let path = repository()
            .join("tests/data/ledger")
            .join(format!("{name}.yaml"));
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        serde_yaml::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    LEDGERS.iter().map(read).collect()
}

/// Returns the paths of all test functions of the workspace, each with the name of its package in front.
///
/// A path comes from where the file lies, and from `mod tests` in it; other modules inside files have no tests.
fn test_functions() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (package, folder) in packages(repository()) {
        let mut files = Vec::new();
        sources(&folder, &mut files);
        for file in files {
            let text = std::fs::read_to_string(&file).expect("a source can be read");
            let path = file
                .strip_prefix(&folder)
                .expect("it lies below")
                .with_extension("");
            let parts: Vec<&str> = path
                .iter()
                .filter_map(|part| part.to_str())
                .filter(|part| !["src", "tests", "mod", "lib", "main"].contains(part))
                .collect();
            // `tests.rs` is a module, the folder `tests` is none.
            let is_module = path.ends_with("tests");
            let mut module: Vec<&str> = [package.as_str()].into_iter().chain(parts).collect();
            module.extend(is_module.then_some("tests"));
            for function in functions(&text) {
                found.insert(format!("{}::{function}", module.join("::")));
            }
        }
    }
    found
}

/// Returns the test functions of a file, those in `mod tests` as `tests::name`.
fn functions(text: &str) -> Vec<String> {
    let mut functions = Vec::new();
    let mut prefix = "";
    let mut is_test = false;
    for line in text.lines().map(str::trim) {
        if line == "mod tests {" {
            prefix = "tests::";
        } else if line == "#[test]" {
            is_test = true;
        } else if let Some(rest) = line.strip_prefix("fn ").filter(|_| is_test) {
            let name = rest.split('(').next().unwrap_or_default();
            functions.push(format!("{prefix}{name}"));
            is_test = false;
        }
    }
    functions
}

/// Returns the packages of the workspace: name and folder.
fn packages(root: &Path) -> Vec<(String, PathBuf)> {
    let mut found = Vec::new();
    for folder in folders(root) {
        if let Ok(manifest) = std::fs::read_to_string(folder.join("Cargo.toml")) {
            let name = manifest
                .lines()
                .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
                .expect("a package has a name");
            found.push((name.to_owned(), folder.clone()));
            found.extend(packages(&folder));
        }
    }
    found
}

/// Lists the sources of one package, but not those of packages inside it.
fn sources(folder: &Path, files: &mut Vec<PathBuf>) {
    let entries = std::fs::read_dir(folder).expect("it can be listed");
    files.extend(
        entries
            .map(|entry| entry.expect("it can be listed").path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "rs")),
    );
    for inner in folders(folder) {
        if !inner.join("Cargo.toml").exists() {
            sources(&inner, files);
        }
    }
}

/// Returns the folders in a folder that can hold sources.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("it can be listed");
    let mut folders: Vec<PathBuf> = entries
        .map(|entry| entry.expect("it can be listed").path())
        .filter(|path| path.is_dir() && !path.ends_with("target"))
        .collect();
    folders.sort();
    folders
}

/// Makes the page.
fn page(ledgers: &[Ledger]) -> String {
    let mut page = String::from(
        "# What the RFCs ask for, and what the relay does\n\n\
         Every sentence of these RFCs that has a requirement word (RFC 2119), and every line of their tables of ICMP \
         messages, with what siit-relay does about it and the tests that show it; of RFC 7755, section 4 alone. A row \
         without a requirement word is a rule that its RFC states without one. Names in italics are golden packets of [tests/data](../tests/data), with \
         the file that they stand in; the others are test functions.\n\n\
         This page is made from [tests/data/ledger](../tests/data/ledger): edit that, then run\n\n    \
         SIIT_RELAY_UPDATE_DOCS=1 cargo test -p tests --test ledger\n\n",
    );
    page.push_str(
        "| | rows | shown by tests | not applicable | not done |\n|---|---:|---:|---:|---:|\n",
    );
    for ledger in ledgers {
        let count = |is: fn(&Row) -> bool| ledger.rows.iter().filter(|row| is(row)).count();
        let shown = count(|row| row.shown_by.is_some());
        let not_applicable = count(|row| row.not_applicable.is_some());
        let not_done = count(|row| row.not_done.is_some());
        let Ledger { rfc, rows, .. } = ledger;
        let anchor = anchor(ledger);
        let all = rows.len();
        writeln!(
            page,
            "| [{rfc}](#{anchor}) | {all} | {shown} | {not_applicable} | {not_done} |"
        )
        .expect("a string takes everything");
    }
    let files: BTreeMap<String, String> = case::load()
        .into_iter()
        .map(|case| (case.title, case.file))
        .collect();
    for ledger in ledgers {
        let Ledger { rfc, title, rows } = ledger;
        write!(
            page,
            "\n## {rfc}: {title}\n\n| clause | requirement | what the relay does | shown by |\n|---|---|---|---|\n"
        )
        .expect("a string takes everything");
        for row in rows {
            let clause = row.clause.trim_start_matches(&format!("{rfc}, "));
            let level = match row.level.name() {
                "" => String::new(),
                level => format!("**{level}** "),
            };
            let (why, names) = match row.state() {
                Ok(State::Shown(names)) => ("", shown_by(names, &files)),
                Ok(State::NotApplicable(why)) => (why, "not applicable".to_owned()),
                Ok(State::NotDone(why)) => (why, "**not done**".to_owned()),
                Err(why) => (why, String::new()),
            };
            let does = format!("{} {why}", row.does.as_deref().unwrap_or_default());
            let does = does.trim();
            let cells = [clause, &format!("{level}{}", row.text), does, &names];
            let cells = cells.map(|cell| cell.replace('|', "\\|"));
            writeln!(page, "| {} |", cells.join(" | ")).expect("a string takes everything");
        }
    }
    page
}

/// Returns the anchor that a heading gets.
fn anchor(ledger: &Ledger) -> String {
    let heading = format!("{}: {}", ledger.rfc, ledger.title).to_lowercase();
    heading
        .chars()
        .filter(|c| c.is_alphanumeric() || [' ', '-'].contains(c))
        .map(|c| if c == ' ' { '-' } else { c })
        .collect()
}

fn shown_by(names: &[String], files: &BTreeMap<String, String>) -> String {
    let names = names.iter().map(|name| match name.split_once(": ") {
        Some(("case", title)) => {
            let file = files
                .get(title)
                .map_or("", |file| file.trim_end_matches(".yaml"));
            format!("*{title}* ({file})")
        }
        Some((_, path)) => format!("`{path}`"),
        None => name.clone(),
    });
    names.collect::<Vec<_>>().join("<br>")
}
