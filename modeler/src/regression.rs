//! Least squares: linear through linfa, nonlinear by Levenberg and Marquardt within bounds.

use linfa::Dataset;
use linfa::traits::Fit;
use linfa_linear::LinearRegression;
use ndarray::{Array1, Array2};

/// The most parameters of a nonlinear fit.
pub(crate) const WIDTH: usize = 4;

/// A nonlinear fit.
#[derive(Clone, Debug)]
pub(crate) struct Solution {
    /// The parameters.
    pub(crate) values: [f64; WIDTH],
    /// The sum of squared weighted residuals.
    pub(crate) residual_sum: f64,
    /// JᵀJ at the solution, for the standard errors.
    pub(crate) normal: [[f64; WIDTH]; WIDTH],
    /// Which parameters lie on a bound.
    pub(crate) on_bound: [bool; WIDTH],
}

/// What to fit: residuals and their derivatives at each observation.
pub(crate) struct Problem<'a> {
    /// How many parameters are used.
    pub(crate) count: usize,
    /// Their bounds.
    pub(crate) limits: [(f64, f64); WIDTH],
    /// Observed value and the square root of the weight, by observation.
    pub(crate) observed: &'a [(f64, f64)],
    /// The predicted value of an observation.
    pub(crate) predicted: &'a dyn Fn(&[f64; WIDTH], usize) -> f64,
    /// Its derivatives.
    pub(crate) gradient: &'a dyn Fn(&[f64; WIDTH], usize) -> [f64; WIDTH],
}

/// Ordinary least squares `columns · β ≈ target` without an intercept.
///
/// linfa ignores the weights of a data set: rows must already be multiplied by the root of their weight.
/// `None` when the columns are linearly dependent.
pub(crate) fn linear(columns: &[Vec<f64>], target: &[f64]) -> Option<Vec<f64>> {
    let (rows, width) = (target.len(), columns.len());
    if rows < width {
        return None;
    }
    // Columns of very different size make the decomposition inexact: each is brought to length 1 first.
    let lengths: Vec<f64> =
        columns.iter().map(|column| column.iter().map(|v| v * v).sum::<f64>().sqrt()).collect();
    if lengths.iter().any(|length| !length.is_finite() || *length <= 0.0) {
        return None;
    }
    let records =
        Array2::from_shape_fn((rows, width), |(row, column)| columns[column][row] / lengths[column]);
    let fitted = LinearRegression::new()
        .with_intercept(false)
        .fit(&Dataset::new(records, Array1::from(target.to_vec())))
        .ok()?;
    let values: Vec<f64> =
        fitted.params().iter().zip(&lengths).map(|(value, length)| value / length).collect();
    values.iter().all(|value| value.is_finite()).then_some(values)
}

/// Minimises the sum of squared weighted residuals within bounds, from `start`.
///
/// Source: Marquardt (1963) with the diagonal of JᵀJ as scale; a parameter on a bound whose gradient points
/// outwards is held there for the step (active set), and steps are cut at the bounds.
pub(crate) fn bounded(problem: &Problem<'_>, start: [f64; WIDTH]) -> Solution {
    let mut values = clamped(problem, start);
    let mut sum = residual_sum(problem, &values);
    let mut damping = 1e-3;
    let mut calm = 0;
    for _ in 0..500 {
        let (normal, slope) = normal_equations(problem, &values);
        let free = free_parameters(problem, &values, &slope);
        let Some(step) = damped_step(&normal, &slope, free, damping) else {
            break;
        };
        let mut next = values;
        for index in 0..problem.count {
            next[index] += step[index];
        }
        let next = clamped(problem, next);
        let next_sum = residual_sum(problem, &next);
        if next_sum.is_finite() && next_sum <= sum {
            let moved =
                (0..problem.count).any(|i| (next[i] - values[i]).abs() > 1e-13 * (values[i].abs() + 1e-9));
            values = next;
            sum = next_sum;
            damping = (damping * 0.2).max(1e-15);
            calm = if moved { 0 } else { calm + 1 };
            if calm >= 2 {
                break;
            }
        } else {
            damping *= 5.0;
            if damping > 1e12 {
                break;
            }
        }
    }
    let (normal, _) = normal_equations(problem, &values);
    let mut on_bound = [false; WIDTH];
    for index in 0..problem.count {
        on_bound[index] =
            values[index] <= problem.limits[index].0 || values[index] >= problem.limits[index].1;
    }
    Solution { values, residual_sum: sum, normal, on_bound }
}

/// The diagonal of the inverse of the upper left `count` × `count` part; `None` when it is singular.
pub(crate) fn inverse_diagonal(matrix: &[[f64; WIDTH]; WIDTH], count: usize) -> Option<[f64; WIDTH]> {
    // Scaled to a unit diagonal first: the parameters differ by orders of magnitude.
    let scale: Vec<f64> = (0..count).map(|i| matrix[i][i].sqrt()).collect();
    if scale.iter().any(|s| !s.is_finite() || *s <= 0.0) {
        return None;
    }
    let mut diagonal = [0.0; WIDTH];
    for index in 0..count {
        let mut scaled = [[0.0; WIDTH]; WIDTH];
        let mut unit = [0.0; WIDTH];
        unit[index] = 1.0;
        for (i, row) in scaled.iter_mut().enumerate() {
            for (j, cell) in row.iter_mut().enumerate() {
                *cell = if i < count && j < count {
                    matrix[i][j] / (scale[i] * scale[j])
                } else {
                    f64::from(u8::from(i == j))
                };
            }
        }
        let solved = solve(scaled, unit)?;
        diagonal[index] = solved[index] / (scale[index] * scale[index]);
    }
    diagonal[..count].iter().all(|d| d.is_finite() && *d >= 0.0).then_some(diagonal)
}

fn clamped(problem: &Problem<'_>, mut values: [f64; WIDTH]) -> [f64; WIDTH] {
    for (value, (low, high)) in values.iter_mut().zip(problem.limits).take(problem.count) {
        *value = if value.is_finite() { value.clamp(low, high) } else { low };
    }
    values
}

fn residual_sum(problem: &Problem<'_>, values: &[f64; WIDTH]) -> f64 {
    let residual = |(index, &(observed, root)): (usize, &(f64, f64))| {
        let residual = (observed - (problem.predicted)(values, index)) * root;
        residual * residual
    };
    problem.observed.iter().enumerate().map(residual).sum()
}

fn normal_equations(problem: &Problem<'_>, values: &[f64; WIDTH]) -> ([[f64; WIDTH]; WIDTH], [f64; WIDTH]) {
    let mut normal = [[0.0; WIDTH]; WIDTH];
    let mut slope = [0.0; WIDTH];
    for (index, &(observed, root)) in problem.observed.iter().enumerate() {
        let residual = (observed - (problem.predicted)(values, index)) * root;
        let gradient = (problem.gradient)(values, index).map(|g| g * root);
        for i in 0..problem.count {
            slope[i] += gradient[i] * residual;
            for j in 0..problem.count {
                normal[i][j] += gradient[i] * gradient[j];
            }
        }
    }
    (normal, slope)
}

fn free_parameters(problem: &Problem<'_>, values: &[f64; WIDTH], slope: &[f64; WIDTH]) -> [bool; WIDTH] {
    let mut free = [false; WIDTH];
    for index in 0..problem.count {
        let (low, high) = problem.limits[index];
        let held =
            (values[index] <= low && slope[index] <= 0.0) || (values[index] >= high && slope[index] >= 0.0);
        free[index] = !held;
    }
    free
}

fn damped_step(
    normal: &[[f64; WIDTH]; WIDTH],
    slope: &[f64; WIDTH],
    free: [bool; WIDTH],
    damping: f64,
) -> Option<[f64; WIDTH]> {
    // In units in which the diagonal of JᵀJ is 1; a parameter that is held, or that nothing depends on, stays.
    let scale: [f64; WIDTH] = std::array::from_fn(|i| normal[i][i].sqrt());
    let moves: [bool; WIDTH] = std::array::from_fn(|i| free[i] && scale[i] > 0.0);
    let matrix = std::array::from_fn(|i| {
        std::array::from_fn(|j| match (i == j, moves[i] && moves[j]) {
            (true, true) => 1.0 + damping,
            (true, false) => 1.0,
            (false, true) => normal[i][j] / (scale[i] * scale[j]),
            (false, false) => 0.0,
        })
    });
    let right = std::array::from_fn(|i| if moves[i] { slope[i] / scale[i] } else { 0.0 });
    let solved = solve(matrix, right)?;
    Some(std::array::from_fn(|i| if moves[i] { solved[i] / scale[i] } else { 0.0 }))
}

/// Gauss elimination with row exchanges.
fn solve(mut matrix: [[f64; WIDTH]; WIDTH], mut right: [f64; WIDTH]) -> Option<[f64; WIDTH]> {
    for column in 0..WIDTH {
        let pivot =
            (column..WIDTH).max_by(|&i, &j| matrix[i][column].abs().total_cmp(&matrix[j][column].abs()))?;
        if matrix[pivot][column].abs() < 1e-300 {
            return None;
        }
        matrix.swap(column, pivot);
        right.swap(column, pivot);
        for row in column + 1..WIDTH {
            let factor = matrix[row][column] / matrix[column][column];
            let above = matrix[column];
            for (cell, above) in matrix[row].iter_mut().zip(above).skip(column) {
                *cell -= factor * above;
            }
            right[row] -= factor * right[column];
        }
    }
    let mut solution = [0.0; WIDTH];
    for row in (0..WIDTH).rev() {
        let known: f64 = (row + 1..WIDTH).map(|k| matrix[row][k] * solution[k]).sum();
        solution[row] = (right[row] - known) / matrix[row][row];
    }
    solution.iter().all(|value| value.is_finite()).then_some(solution)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn linfa_finds_the_plane_through_exact_points() {
        let columns = [vec![1.0; 4], vec![1.0, 2.0, 3.0, 4.0], vec![1e6, 4e6, 9e6, 1.6e7]];
        let target: Vec<f64> = (0..4).map(|i| 2.0 + 3.0 * columns[1][i] - 5e-6 * columns[2][i]).collect();
        let found = linear(&columns, &target).expect("is regular");
        for (value, expected) in found.iter().zip([2.0, 3.0, -5e-6]) {
            assert!((value / expected - 1.0).abs() < 1e-9, "{found:?}");
        }
    }
}
