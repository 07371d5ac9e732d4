//! Draws QR codes in the terminal.

use std::io::IsTerminal as _;

use qrcode::{Color, QrCode};
use tgmesh_proto::integration::v1 as pb;

use super::{Context, Failure, client};

/// Light modules around a code, so that cameras find it.
const QUIET: usize = 2;

/// A code that is on the screen.
#[derive(Debug, Default)]
pub(crate) struct Picture {
    lines: usize,
}

impl Picture {
    /// Draws a code, in the place of the one before.
    pub(crate) fn draw(&mut self, context: &Context, code: &pb::QrCode) -> Result<(), Failure> {
        let terminal = console::Term::stderr();
        if std::io::stderr().is_terminal() {
            // Fails only where nothing can be drawn at all.
            let _ = terminal.clear_last_lines(self.lines);
        }
        let mut text =
            String::from("scan with a Telegram app that is logged in: Settings, Devices, Link Desktop Device\n\n");
        text.push_str(&half_blocks(&code.link)?);
        text.push_str(&format!(
            "\ngood until {}; the next one follows by itself\n",
            context.when(code.expire_time.as_ref())
        ));
        text.push_str(&format!("link: {}\n", code.link));
        if client::emulator(&context.config).is_some() {
            let scan = "Telegram is emulated here, and so are the phones: tgmesh emulator scan \"+49 30 9000 0106\"";
            text.push_str(&format!("{} '{}'\n", context.hint(scan), code.link));
        }
        self.lines = text.lines().map(|line| rows(line, &terminal)).sum();
        context.say(text.trim_end_matches('\n'));
        Ok(())
    }

    /// Leaves the code on the screen: what follows is written below it.
    pub(crate) fn forget(&mut self) {
        self.lines = 0;
    }
}

/// Rows that a line takes on the terminal.
fn rows(line: &str, terminal: &console::Term) -> usize {
    let width = usize::from(terminal.size().1).max(1);
    console::measure_text_width(line).div_ceil(width).max(1)
}

/// The code with two modules in each character, light on dark as terminals mostly are.
fn half_blocks(text: &str) -> Result<String, Failure> {
    let code =
        QrCode::new(text.as_bytes()).map_err(|error| Failure::new(format!("no QR code can be drawn: {error}")))?;
    let (width, colors) = (code.width(), code.to_colors());
    let light = |row: usize, column: usize| {
        let inside = |at: usize| at.checked_sub(QUIET).filter(|at| *at < width);
        match (inside(row), inside(column)) {
            (Some(row), Some(column)) => colors.get(row * width + column) != Some(&Color::Dark),
            _ => true,
        }
    };
    let side = width + 2 * QUIET;
    let mut text = String::new();
    for row in (0..side).step_by(2) {
        for column in 0..side {
            text.push(match (light(row, column), row + 1 < side && light(row + 1, column)) {
                (true, true) => '█',
                (true, false) => '▀',
                (false, true) => '▄',
                (false, false) => ' ',
            });
        }
        text.push('\n');
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_square_with_a_light_border() {
        let text = half_blocks("tg://login?token=AQIDBA").unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let width = lines[0].chars().count();
        assert_eq!(lines.len(), width.div_ceil(2));
        assert!(lines[0].chars().all(|c| c == '█'), "{text}");
        assert!(lines.iter().all(|line| line.starts_with("██") || line.starts_with("▀▀")), "{text}");
    }
}
