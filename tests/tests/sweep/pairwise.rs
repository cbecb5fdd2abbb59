//! Combinations of options, chosen so that each pair of levels that can meet does meet in one of them.

/// A level for each factor.
pub(crate) type Case = Vec<usize>;

/// Factors with so many levels each, and what cannot be together.
pub(crate) struct Space<'a> {
    pub(crate) levels: &'a [usize],
    /// Whether a case of which some factors are undecided may become one that is run.
    pub(crate) possible: fn(&[Option<usize>]) -> bool,
}

/// Two factors at a level each.
type Pair = [(usize, usize); 2];

impl Space<'_> {
    /// Cases that cover all pairs that can be. (Greedy: few cases, not the fewest.)
    pub(crate) fn cases(&self) -> Vec<Case> {
        let mut open = self.pairs();
        let mut cases = Vec::new();
        while let Some(&pair) = open.first() {
            let case = self.complete(pair, &open);
            open.retain(|pair| !covers(&case, pair));
            cases.push(case);
        }
        cases
    }

    /// All pairs that can be.
    pub(crate) fn pairs(&self) -> Vec<Pair> {
        let each = |factor| (0..self.levels[factor]).map(move |level| (factor, level));
        let factors = 0..self.levels.len();
        let two = factors.flat_map(|first| (first + 1..self.levels.len()).map(move |s| (first, s)));
        let pairs = two.flat_map(|(first, second)| {
            each(first).flat_map(move |a| each(second).map(move |b| [a, b]))
        });
        pairs.filter(|pair| self.completed(&self.with(pair)).is_some()).collect()
    }

    fn with(&self, pair: &Pair) -> Vec<Option<usize>> {
        let mut case = vec![None; self.levels.len()];
        pair.iter().for_each(|&(factor, level)| case[factor] = Some(level));
        case
    }

    /// A case with `pair` in it, and of the others the levels that cover most of what is `open`.
    fn complete(&self, pair: Pair, open: &[Pair]) -> Case {
        let mut case = self.with(&pair);
        while let Some(factor) = case.iter().position(Option::is_none) {
            let gain = |level: usize| {
                let mut tried = case.clone();
                tried[factor] = Some(level);
                self.completed(&tried)?;
                let met = |&&[a, b]: &&Pair| {
                    (a.0 == factor || b.0 == factor)
                        && [a, b].iter().all(|&(factor, level)| tried[factor] == Some(level))
                };
                Some(open.iter().filter(met).count())
            };
            // The first of equals.
            let best = (0..self.levels[factor])
                .rev()
                .filter_map(|level| Some((gain(level)?, level)))
                .max_by_key(|&(gain, _)| gain);
            case[factor] = Some(best.expect("what was possible stays so").1);
        }
        case.into_iter().flatten().collect()
    }

    /// Any case that the decided levels can become.
    fn completed(&self, case: &[Option<usize>]) -> Option<Case> {
        if !(self.possible)(case) {
            return None;
        }
        let Some(factor) = case.iter().position(Option::is_none) else {
            return Some(case.iter().copied().flatten().collect());
        };
        (0..self.levels[factor]).find_map(|level| {
            let mut case = case.to_vec();
            case[factor] = Some(level);
            self.completed(&case)
        })
    }
}

fn covers(case: &[usize], pair: &Pair) -> bool {
    pair.iter().all(|&(factor, level)| case[factor] == level)
}

#[test]
fn all_pairs_meet_and_what_cannot_be_does_not() {
    let space = Space {
        levels: &[2, 3, 2, 2, 4],
        possible: |case| !(case[0] == Some(1) && case[2] == Some(1)),
    };
    let cases = space.cases();
    let pairs = space.pairs();
    // All pairs of levels, but for the one.
    let all = 2 * 3 + 2 * 2 + 2 * 2 + 2 * 4 + 3 * 2 + 3 * 2 + 3 * 4 + 2 * 2 + 2 * 4 + 2 * 4;
    assert_eq!(pairs.len(), all - 1);
    for pair in &pairs {
        assert!(cases.iter().any(|case| covers(case, pair)), "{pair:?}");
    }
    for case in &cases {
        assert!(!(case[0] == 1 && case[2] == 1), "{case:?}");
    }
    assert!(cases.len() < 24, "{}", cases.len());
}
