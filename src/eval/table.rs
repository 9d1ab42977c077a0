//! The paper's table as text: Markdown that also reads well in a terminal.

use super::plan::Size;
use super::summary::{Column, Figure};

/// Characters of a line at most; more columns go into a further table.
const WIDTH: usize = 118;

/// All tables: every method by the number of outliers, then every column by class. `models` are the models' names.
pub fn text(columns: &[Column], classes: &[String], models: &[String]) -> String {
    let mut out = summary(columns, models);
    out += &by_class(columns, classes, models);
    out
}

/// Percent: the mean, and the deviation where there is more than one value.
fn shown(figure: Option<Figure>) -> String {
    match figure {
        None => "-".into(),
        Some(Figure { mean, deviation, count }) if count > 1 => {
            format!("{:.2} ±{:.2}", 100.0 * mean, 100.0 * deviation)
        }
        Some(Figure { mean, .. }) => format!("{:.2}", 100.0 * mean),
    }
}

fn summary(columns: &[Column], models: &[String]) -> String {
    let mut sizes: Vec<Size> = columns.iter().map(|c| c.size).collect();
    sizes.sort_unstable();
    sizes.dedup();
    let mut names: Vec<(&str, usize)> = Vec::new();
    for column in columns {
        if !names.contains(&(column.method.id, column.model)) {
            names.push((column.method.id, column.model));
        }
    }
    let mut heads = vec![vec!["method".to_string()]];
    heads[0].extend(names.iter().map(|&(id, model)| named(id, model, models)));
    for &size in &sizes {
        let cell = |&(id, model): &(&str, usize)| {
            let column = columns.iter().find(|c| c.method.id == id && c.model == model && c.size == size);
            column.map_or(String::new(), |c| shown(c.overall_auroc()))
        };
        heads.push(std::iter::once(size.to_string()).chain(names.iter().map(cell)).collect());
    }
    let title = "AUROC, %, by number of outlier examples: mean ±deviation over classes, of means over seeds";
    format!("{title}\n\n{}", chunks(&heads, 1))
}

fn by_class(columns: &[Column], classes: &[String], models: &[String]) -> String {
    let mut shown_columns = vec![vec!["class".to_string()]];
    shown_columns[0].extend(classes.iter().cloned());
    shown_columns[0].push("mean".into());
    for (at, column) in columns.iter().enumerate() {
        let mut cells = vec![heading(column, models)];
        cells.extend((0..classes.len()).map(|class| shown(column.class_auroc(class))));
        cells.push(shown(column.overall_auroc()));
        shown_columns.push(cells);
        let first = columns.iter().find(|c| c.model == 0 && c.method == column.method && c.size == column.size);
        if let Some(first) = first.filter(|_| column.model > 0) {
            shown_columns.push(differences(first, &columns[at], classes.len(), models.len()));
        }
    }
    let means = "AUROC, %, by class: mean ±deviation over seeds; last line: mean ±deviation over classes; @n: with n outlier examples";
    format!("{means}\n\n{}", chunks(&shown_columns, models.len().max(1) * 2 - 1))
}

/// In hundredths of the AUROC: this column less the first model's.
fn differences(first: &Column, column: &Column, classes: usize, models: usize) -> Vec<String> {
    let difference = |a: Option<Figure>, b: Option<Figure>| match (a, b) {
        (Some(a), Some(b)) => format!("{:+.2}", 100.0 * (b.mean - a.mean)),
        _ => "-".into(),
    };
    let head = if models > 2 { format!("difference {}-1", column.model + 1) } else { "difference".into() };
    let by_class = (0..classes).map(|c| difference(first.class_auroc(c), column.class_auroc(c)));
    let overall = difference(first.overall_auroc(), column.overall_auroc());
    std::iter::once(head).chain(by_class).chain([overall]).collect()
}

fn named(id: &str, model: usize, models: &[String]) -> String {
    if models.len() > 1 { format!("{id}, {}", models[model]) } else { id.into() }
}

/// A column's name.
pub fn heading(column: &Column, models: &[String]) -> String {
    let id = match column.size {
        Size(0) => column.method.id.to_string(),
        size => format!("{} @{size}", column.method.id),
    };
    named(&id, column.model, models)
}

/// Columns as tables no wider than [`WIDTH`]; the first column leads each, and `together` columns stay together.
fn chunks(columns: &[Vec<String>], together: usize) -> String {
    let width = |column: &Vec<String>| column.iter().map(|cell| cell.chars().count()).max().unwrap_or(0) + 3;
    let Some((first, rest)) = columns.split_first() else { return String::new() };
    let mut out = String::new();
    let mut at = 0;
    while at < rest.len() || at == 0 {
        let mut end = at;
        let mut used = width(first) + 1;
        while end < rest.len() {
            let group = &rest[end..(end + together).min(rest.len())];
            let more: usize = group.iter().map(width).sum();
            if end > at && used + more > WIDTH {
                break;
            }
            used += more;
            end += group.len();
        }
        out += &table(first, &rest[at..end]);
        out.push('\n');
        at = end.max(at + 1);
    }
    out
}

/// Text to the left, numbers to the right.
fn table(first: &[String], rest: &[Vec<String>]) -> String {
    let widths: Vec<usize> = std::iter::once(first)
        .chain(rest.iter().map(Vec::as_slice))
        .map(|column| column.iter().map(|cell| cell.chars().count()).max().unwrap_or(0))
        .collect();
    let mut out = String::new();
    for row in 0..first.len() {
        out += &format!("| {:<w$} |", first[row], w = widths[0]);
        rest.iter().zip(&widths[1..]).for_each(|(column, w)| out += &format!(" {:>w$} |", column[row]));
        out.push('\n');
        if row == 0 {
            out += &format!("|{}|", "-".repeat(widths[0] + 2));
            widths[1..].iter().for_each(|w| out += &format!("{}:|", "-".repeat(w + 1)));
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_that_belong_together_stay_together() {
        let column = |head: &str, cell: &str| vec![head.to_string(), cell.to_string()];
        let first = column("class", "dog");
        let wide: Vec<Vec<String>> =
            (0..4).map(|i| column(&format!("method number {i}, some model"), "98.50 ±0.10")).collect();
        let all: Vec<Vec<String>> = std::iter::once(first.clone()).chain(wide).collect();
        let text = chunks(&all, 3);
        let tables: Vec<&str> = text.trim_end().split("\n\n").collect();
        assert_eq!(tables.len(), 2, "{text}");
        assert!(tables[0].contains("number 2") && !tables[0].contains("number 3") && tables[1].contains("| dog   |"));
        assert!(text.lines().all(|l| l.chars().count() <= WIDTH), "{text}");
        let small = table(&first, &[column("a", "1.00")]);
        assert_eq!(small, "| class |    a |\n|-------|-----:|\n| dog   | 1.00 |\n");
    }

    #[test]
    fn a_deviation_needs_two() {
        assert_eq!(shown(Some(Figure { mean: 0.985, deviation: 0.0, count: 1 })), "98.50");
        assert_eq!(shown(Some(Figure { mean: 0.985, deviation: 0.001, count: 2 })), "98.50 ±0.10");
        assert_eq!(shown(None), "-");
    }
}
