//! The page: its commands, the lines that it shows below them, and how they are replaced.

/// Before the words that say where and when outputs were taken.
const STAMP: &str = "Outputs of ";

/// A page of Markdown.
pub(crate) struct Page(Vec<String>);

/// A command of the page, and the lines that it shows below, with their numbers.
#[derive(Debug)]
pub(crate) struct Step {
    pub(crate) command: String,
    pub(crate) shown: Vec<(usize, String)>,
}

impl Page {
    pub(crate) fn new(text: &str) -> Self {
        Self(text.lines().map(str::to_owned).collect())
    }

    /// What stands in the page's `console` blocks.
    pub(crate) fn steps(&self) -> Vec<Step> {
        let mut steps: Vec<Step> = Vec::new();
        let mut inside = false;
        let mut first = true;
        for (number, line) in self.0.iter().enumerate() {
            match (inside, line.strip_prefix("$ ")) {
                (false, _) => (inside, first) = (line == "```console", true),
                (true, _) if line == "```" => inside = false,
                (true, Some(command)) => {
                    steps.push(Step { command: command.into(), shown: Vec::new() });
                    first = false;
                }
                (true, None) if first => panic!("a block begins with output: {line}"),
                (true, None) => {
                    steps.last_mut().expect("not first").shown.push((number, line.clone()));
                }
            }
        }
        steps
    }

    /// Puts `line` in the place of the line with that number.
    pub(crate) fn replace(&mut self, number: usize, line: &str) {
        self.0[number] = line.trim_end().to_owned();
    }

    /// Says where and when the outputs were taken.
    pub(crate) fn stamp(&mut self, words: &str) {
        let line = self.0.iter_mut().find(|line| line.starts_with(STAMP));
        *line.expect("the page says of when its outputs are") = format!("{STAMP}{words}.");
    }

    pub(crate) fn text(&self) -> String {
        self.0.join("\n") + "\n"
    }
}

impl Step {
    /// Sets variables, and nothing else.
    pub(crate) fn is_assignment(&self) -> bool {
        let name = self.command.split_once('=').map(|(name, _)| name);
        name.is_some_and(|name| name.bytes().all(|b| b.is_ascii_uppercase()))
    }
}

/// The words of a line that are the same on every machine: of letters, but no units.
fn words(line: &str) -> Vec<&str> {
    let parts = line.split(|c: char| !c.is_alphanumeric() && c != '_');
    parts
        .filter(|part| part.len() > 1 && part.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_'))
        .filter(|part| !["us", "ns", "ms", "Mpps", "kpps", "none"].contains(part))
        .collect()
}

/// The next of `lines` that has all of the shown line's words. What a search finds out, between bounds or not, is the
/// machine's affair.
pub(crate) fn find<'a>(lines: &mut impl Iterator<Item = &'a str>, shown: &str) -> Option<&'a str> {
    let wanted = words(shown.split(" between ").next().unwrap_or(shown));
    lines.find(|line| {
        let found = words(line);
        wanted.iter().all(|word| found.contains(word))
    })
}

#[test]
fn a_line_that_is_not_printed_is_found_out() {
    let output = "forward   20 sent, 20 received, 0 lost\n  1.0 s  trial 1: 2 Mpps";
    let found = |shown| find(&mut output.lines(), shown);
    assert_eq!(found("forward   19 sent, 18 received, 1 lost"), output.lines().next());
    assert_eq!(found("forward   19 sent, 18 received, 1 late"), None);
    assert_eq!(found("trial 1: 20 sent"), None, "in one line");
    let mut lines = output.lines();
    assert!(
        find(&mut lines, "trial 9").is_some() && find(&mut lines, "forward 1 sent").is_none(),
        "in order"
    );
}

#[test]
fn what_was_printed_takes_the_place_of_what_is_shown() {
    let text = "# Title\nOutputs of nobody.\n```console\n$ A=1 B=2\n$ run it\n1 sent\n...\n```\n$ no command\n";
    let mut page = Page::new(text);
    let steps = page.steps();
    assert_eq!(steps.len(), 2);
    assert!(steps[0].is_assignment() && !steps[1].is_assignment());
    let [(number, shown), (_, dots)] = &steps[1].shown[..] else { panic!("two lines") };
    assert_eq!((shown.as_str(), dots.as_str()), ("1 sent", "..."));
    page.replace(*number, "23 sent ");
    page.stamp("today");
    assert_eq!(page.text(), text.replace("1 sent", "23 sent").replace("nobody", "today"));
}
