//! The full-screen view: rates as sparklines, a table per direction and stream, and the state of a search.
//!
//! `model.rs` keeps what has been seen in bounded memory, `draw/` draws it on any backend (tests have one without a
//! terminal), `keys.rs` says what a key means, and this file owns the terminal. `q`, Escape and Ctrl-C stop the run; a second one ends pktgen at once,
//! as a second signal does.

mod draw;
mod keys;
mod model;

use std::time::Duration;

use pktgen::Error;
use plat_linux::StopFlag;
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event as Input};

use crate::output::{Event, Style};

use keys::Wish;
use model::Model;

/// What a shell reports of a program that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// The terminal, and what it shows.
pub(crate) struct Tui {
    terminal: DefaultTerminal,
    model: Model,
    stop: StopFlag,
}

impl Tui {
    /// Takes the terminal over. `duration` is the run's, where it is known.
    pub(crate) fn open(
        duration: Option<Duration>,
        stop: StopFlag,
        style: Style,
    ) -> Result<Self, Error> {
        if std::env::var_os("TERM").is_some_and(|term| term == "dumb") {
            let what = "--tui cannot use this terminal: TERM is dumb; accepted there: the lines, or --quiet";
            return Err(Error::Usage(what.into()));
        }
        let terminal = ratatui::try_init()
            .map_err(|error| Error::Usage(format!("--tui cannot use this terminal: {error}")))?;
        let mut tui = Self { terminal, model: Model::new(duration, style.has_colours()), stop };
        tui.draw();
        Ok(tui)
    }

    /// Shows an event.
    pub(crate) fn show(&mut self, event: &Event) {
        self.model.note(event);
        self.draw();
    }

    /// Looks at the keys that were pressed.
    pub(crate) fn keys(&mut self) {
        while event::poll(Duration::ZERO).unwrap_or(false) {
            match event::read() {
                Ok(Input::Key(key)) => match keys::wish(key, self.model.rows_shown) {
                    Some(Wish::Scroll(rows)) => {
                        self.model.scroll(rows);
                        self.draw();
                    }
                    Some(Wish::Stop) => self.stop(),
                    None => {}
                },
                Ok(Input::Resize(..)) => self.draw(),
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    fn stop(&mut self) {
        if self.model.stopping {
            ratatui::restore();
            std::process::exit(INTERRUPTED);
        }
        self.model.stopping = true;
        self.stop.set();
        self.draw();
    }

    fn draw(&mut self) {
        // A terminal that went away is no reason to end the run.
        let _ = self.terminal.draw(|frame| draw::draw(frame, &mut self.model));
    }
}

impl Drop for Tui {
    /// Gives the terminal back.
    fn drop(&mut self) {
        ratatui::restore();
    }
}
