//! What a key means.

use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyEventKind, KeyModifiers};

/// What somebody at the keyboard wants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    /// To see later streams, or earlier ones.
    Scroll(isize),
    /// The end.
    Stop,
}

/// What `key` means where a page has so many rows.
pub(super) fn wish(key: KeyEvent, page: usize) -> Option<Wish> {
    if key.kind == KeyEventKind::Release {
        return None;
    }
    if key.modifiers.contains(KeyModifiers::CONTROL) {
        return (key.code == KeyCode::Char('c')).then_some(Wish::Stop);
    }
    let page = isize::try_from(page).unwrap_or(1);
    Some(match key.code {
        KeyCode::Up | KeyCode::Char('k') => Wish::Scroll(-1),
        KeyCode::Down | KeyCode::Char('j') => Wish::Scroll(1),
        KeyCode::PageUp => Wish::Scroll(-page),
        KeyCode::PageDown => Wish::Scroll(page),
        KeyCode::Home => Wish::Scroll(isize::MIN),
        KeyCode::End => Wish::Scroll(isize::MAX),
        KeyCode::Char('q') | KeyCode::Esc => Wish::Stop,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_what_they_mean() {
        let plain = |code| wish(KeyEvent::new(code, KeyModifiers::NONE), 20);
        for (code, meaning) in [
            (KeyCode::Char('q'), Some(Wish::Stop)),
            (KeyCode::Esc, Some(Wish::Stop)),
            (KeyCode::Down, Some(Wish::Scroll(1))),
            (KeyCode::Char('k'), Some(Wish::Scroll(-1))),
            (KeyCode::PageDown, Some(Wish::Scroll(20))),
            (KeyCode::End, Some(Wish::Scroll(isize::MAX))),
            (KeyCode::Char('c'), None),
            (KeyCode::Char('x'), None),
            (KeyCode::F(1), None),
        ] {
            assert_eq!(plain(code), meaning, "{code:?}");
        }
        let control = |code| wish(KeyEvent::new(KeyCode::Char(code), KeyModifiers::CONTROL), 20);
        assert_eq!((control('c'), control('q')), (Some(Wish::Stop), None));
        let mut released = KeyEvent::new(KeyCode::Char('q'), KeyModifiers::NONE);
        released.kind = KeyEventKind::Release;
        assert_eq!(wish(released, 20), None);
    }
}
