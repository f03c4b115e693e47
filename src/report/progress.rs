//! A progress bar on standard error, for work that takes longer than a breath.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::IsTerminal;

/// One bar: a label, how much is done, the rate, the time left and a message. It writes nothing at
/// all where standard error is not a terminal (logs, CI) or where quiet was asked for.
#[derive(Debug)]
pub struct Progress(ProgressBar);

impl Progress {
    /// A bar for `total` steps; a `total` of 0 means that nobody knows, and shows count and rate only.
    pub fn new(total: u64, label: &str, quiet: bool) -> Self {
        let target = if quiet || !std::io::stderr().is_terminal() {
            ProgressDrawTarget::hidden()
        } else {
            ProgressDrawTarget::stderr()
        };
        Self::on(target, total, label)
    }

    fn on(target: ProgressDrawTarget, total: u64, label: &str) -> Self {
        let (length, template) = if total > 0 {
            let template = "{prefix} {bar:24.cyan/dim} {pos}/{len}  {per_sec}  {eta} left  {wide_msg}";
            (Some(total), template)
        } else {
            (None, "{prefix} {spinner} {pos}  {per_sec}  {elapsed}  {wide_msg}")
        };
        let bar = ProgressBar::with_draw_target(length, target);
        // The templates above are constants, and the tests draw both: the default is never needed.
        let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
        bar.set_style(style.progress_chars("━━─"));
        bar.set_prefix(label.to_owned());
        Progress(bar)
    }

    /// `steps` more are done.
    pub fn advance(&self, steps: u64) {
        self.0.inc(steps);
    }

    /// Shows `text` behind the bar: the loss, the file at hand.
    pub fn message(&self, text: impl Into<String>) {
        self.0.set_message(text.into());
    }

    /// How many steps are done.
    pub fn position(&self) -> u64 {
        self.0.position()
    }

    /// Whether the bar shows nothing.
    pub fn is_hidden(&self) -> bool {
        self.0.is_hidden()
    }

    /// Runs `print` with the bar out of the way: lines printed in it stay above the bar.
    pub fn suspend<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    /// Removes the bar: what it led up to is printed in its place. Dropping it does the same.
    pub fn finish(&self) {
        self.0.finish_and_clear();
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        // An error on the way must not leave half a bar above its message.
        self.finish();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::TermLike;
    use std::io;
    use std::sync::{Arc, Mutex};

    /// A terminal that remembers all that was written to it.
    #[derive(Debug, Clone, Default)]
    struct Memory(Arc<Mutex<String>>);

    impl TermLike for Memory {
        fn width(&self) -> u16 {
            100
        }
        fn move_cursor_up(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_down(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_right(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn move_cursor_left(&self, _: usize) -> io::Result<()> {
            Ok(())
        }
        fn write_line(&self, text: &str) -> io::Result<()> {
            self.write_str(text)
        }
        fn write_str(&self, text: &str) -> io::Result<()> {
            self.0.lock().unwrap().push_str(text);
            Ok(())
        }
        fn clear_line(&self) -> io::Result<()> {
            self.write_str("<clear>")
        }
        fn flush(&self) -> io::Result<()> {
            Ok(())
        }
    }

    fn draw(total: u64) -> String {
        let memory = Memory::default();
        let target = ProgressDrawTarget::term_like(Box::new(memory.clone()));
        let progress = Progress::on(target, total, "epoch 3");
        progress.advance(5);
        progress.message("loss 1.25");
        progress.0.force_draw();
        assert!(!progress.is_hidden());
        progress.finish();
        memory.0.lock().unwrap().clone()
    }

    #[test]
    fn shows_label_count_rate_time_left_and_message() {
        let text = draw(20);
        for part in ["epoch 3", "5/20", "/s", "left", "loss 1.25", "━"] {
            assert!(text.contains(part), "{part} is not in {text:?}");
        }
        assert!(text.ends_with("<clear>"), "{text:?}");
    }

    #[test]
    fn an_unknown_total_has_no_time_left() {
        let text = draw(0);
        assert!(text.contains("epoch 3") && text.contains("loss 1.25") && !text.contains("left"), "{text:?}");
    }

    #[test]
    fn quiet_is_hidden_and_still_counts() {
        let progress = Progress::new(10, "x", true);
        progress.advance(4);
        progress.advance(20);
        assert!(progress.is_hidden());
        assert_eq!(progress.position(), 24);
        assert_eq!(progress.suspend(|| 7), 7);
        progress.finish();
    }
}
