//! What each route costs: resources used, spread over the requests of each route, never below zero.
//!
//! Plain least squares gives negative costs as soon as routes rise and fall together. Non-negative least squares
//! does not; where routes cannot be told apart a positive elastic net shares the cost out among them, and the
//! two disagreeing is the sign that the split (not the sum) is uncertain.

/// `columns · β ≈ target` by least squares with `β ≥ 0`.
///
/// Coordinate descent on the normal equations, each coordinate to its exact minimum within the bound, until
/// nothing moves; the problem is convex, so that is the minimum.
///
/// Source: Franc, Hlaváč and Navara, "Sequential coordinate-wise algorithm for the non-negative least squares
/// problem" (2005).
pub(crate) fn non_negative(columns: &[Vec<f64>], target: &[f64]) -> Vec<f64> {
    elastic(&Normal::new(columns, target), 0.0, 0.0)
}

/// AᵀA and Aᵀb of columns brought to length 1.
pub(crate) struct Normal {
    square: Vec<Vec<f64>>,
    right: Vec<f64>,
    lengths: Vec<f64>,
}

impl Normal {
    pub(crate) fn new(columns: &[Vec<f64>], target: &[f64]) -> Self {
        let dot = |one: &[f64], other: &[f64]| one.iter().zip(other).map(|(a, b)| a * b).sum::<f64>();
        let lengths: Vec<f64> = columns.iter().map(|column| dot(column, column).sqrt()).collect();
        let scale = |at: usize| if lengths[at] > 0.0 { 1.0 / lengths[at] } else { 0.0 };
        let square = (0..columns.len())
            .map(|i| {
                (0..columns.len()).map(|j| dot(&columns[i], &columns[j]) * scale(i) * scale(j)).collect()
            })
            .collect();
        let right = (0..columns.len()).map(|i| dot(&columns[i], target) * scale(i)).collect();
        Self { square, right, lengths }
    }
}

/// The same with a price of `sparse·|β| + ridge·β²/2` on every coordinate, in units of the strongest correlation
/// with the target: the positive elastic net.
///
/// Source: Zou and Hastie, "Regularization and variable selection via the elastic net" (2005).
pub(crate) fn elastic(normal: &Normal, sparse: f64, ridge: f64) -> Vec<f64> {
    let count = normal.lengths.len();
    let strongest = normal.right.iter().map(|right| right.abs()).fold(0.0, f64::max);
    let mut beta = vec![0.0; count];
    // What is left of Aᵀb when beta is taken out.
    let mut left = normal.right.clone();
    for _ in 0..2_000 {
        let mut moved = 0.0_f64;
        for at in 0..count {
            let own = normal.square[at][at];
            if own <= 0.0 {
                continue;
            }
            let wanted = ((left[at] + own * beta[at] - sparse * strongest) / (own + ridge)).max(0.0);
            let step = wanted - beta[at];
            if step != 0.0 {
                beta[at] = wanted;
                for (left, square) in left.iter_mut().zip(&normal.square[at]) {
                    *left -= step * square;
                }
                moved = moved.max(step.abs());
            }
        }
        if moved <= 1e-10 * strongest {
            break;
        }
    }
    beta.iter()
        .zip(&normal.lengths)
        .map(|(beta, length)| if *length > 0.0 { beta / length } else { 0.0 })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_found_again_and_never_negative() {
        let columns: Vec<Vec<f64>> =
            vec![vec![10.0, 20.0, 30.0, 5.0], vec![3.0, 1.0, 4.0, 1.0], vec![2.0, 7.0, 1.0, 8.0]];
        let target: Vec<f64> = (0..4).map(|row| 2.0 * columns[0][row] + 5.0 * columns[2][row]).collect();
        for (found, expected) in non_negative(&columns, &target).iter().zip([2.0, 0.0, 5.0]) {
            assert!((found - expected).abs() < 1e-6, "{found}");
        }
        // Plain least squares would take the second below zero: 3·first − 1·second.
        let target: Vec<f64> = (0..4).map(|row| 3.0 * columns[0][row] - columns[1][row]).collect();
        assert!(non_negative(&columns, &target).iter().all(|cost| *cost >= 0.0));
        assert_eq!(non_negative(&[vec![0.0; 3]], &[1.0, 2.0, 3.0]), [0.0]);
    }
}
