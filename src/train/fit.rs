//! [`Fit`]: from a method and examples to a detector, batch by batch.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};

use super::head::Rest;
use super::loss::{Outputs, mean_loss};
use super::random::{Deck, Random};
use super::recipe::MOMENTUM;
use super::{Detector, Examples, Head, Progress, Recipe, Stepwise, Texts, TrainError};
use crate::protocol::EntryKind;
use crate::score::{Loss, Method};

/// The least that DSVDD's centre differs from zero in each number: else the map of zeros would be perfect.
const CENTRE_FLOOR: f32 = 0.1;

/// The making of a detector. Methods without training are finished at once.
pub struct Fit {
    method: &'static Method,
    texts: Arc<Texts>,
    made: Made,
}

enum Made {
    Ready(Detector),
    Training(Box<Training>),
}

impl Fit {
    /// Begins with the method's own recipe; the same seed gives the same detector.
    ///
    /// # Errors
    /// When the examples are too few for the method, or of another width than the texts.
    pub fn new(method: &'static Method, texts: Arc<Texts>, examples: &Examples, seed: u64) -> Result<Self, TrainError> {
        Self::by(method, texts, examples, seed, &Recipe::of(method))
    }

    /// Begins with a recipe of the caller's (methods without training do not look at it).
    ///
    /// # Errors
    /// As [`Fit::new`].
    pub fn by(
        method: &'static Method,
        texts: Arc<Texts>,
        examples: &Examples,
        seed: u64,
        recipe: &Recipe,
    ) -> Result<Self, TrainError> {
        examples.check(method, texts.embeddings().width())?;
        let Some(loss) = method.loss else {
            let ready = Detector::untrained(method, texts.clone(), examples)?;
            return Ok(Self { method, texts, made: Made::Ready(ready) });
        };
        let training = Training::new(method, loss, &texts, examples, seed, *recipe)?;
        Ok(Self { method, texts, made: Made::Training(Box::new(training)) })
    }

    /// The mean loss of the last batch; `None` before the first, and for methods without training.
    pub fn loss(&self) -> Option<f64> {
        match &self.made {
            Made::Ready(_) => None,
            Made::Training(training) => training.last_loss,
        }
    }

    /// What has been learned so far.
    ///
    /// # Errors
    /// When a weight is no finite number.
    pub fn detector(&self) -> Result<Detector, TrainError> {
        match &self.made {
            Made::Ready(detector) => Ok(detector.clone()),
            Made::Training(training) => Detector::trained(self.method, self.texts.clone(), training.head(self.method)?),
        }
    }
}

impl Stepwise for Fit {
    fn step(&mut self) -> Result<Progress, TrainError> {
        if let Made::Training(training) = &mut self.made
            && training.done < training.total
        {
            training.step(self.method)?;
        }
        Ok(self.progress())
    }

    fn progress(&self) -> Progress {
        match &self.made {
            Made::Ready(_) => Progress { done: 0, total: 0 },
            Made::Training(training) => Progress { done: training.done, total: training.total },
        }
    }
}

struct Training {
    loss: Loss,
    recipe: Recipe,
    width: usize,
    shift: Vec<f32>,
    scale: f32,
    /// Normal examples in front, outliers behind, shifted and scaled: `n x d`.
    inputs: Tensor,
    /// What CLIP-OE alone looks at.
    fixed: Option<Fixed>,
    normal: usize,
    kinds: Vec<EntryKind>,
    centre: Option<Tensor>,
    parameters: Vec<Parameter>,
    normal_deck: Deck,
    outlier_deck: Option<Deck>,
    /// Normal examples in a batch.
    batch: usize,
    done: usize,
    total: usize,
    last_loss: Option<f64>,
}

/// What CLIP-OE corrects and compares with; none of it is learned.
struct Fixed {
    /// As they came: `n x d`, in the order of [`Training::inputs`].
    embeddings: Tensor,
    /// `d x entries`.
    texts: Tensor,
    /// `n x entries`.
    cosines: Tensor,
}

/// Weights and their velocity.
struct Parameter {
    weights: Var,
    velocity: Tensor,
}

impl Parameter {
    fn new(weights: Var) -> Result<Self, TrainError> {
        let velocity = weights.zeros_like()?;
        Ok(Self { weights, velocity })
    }
}

impl Training {
    fn new(
        method: &'static Method,
        loss: Loss,
        texts: &Texts,
        examples: &Examples,
        seed: u64,
        recipe: Recipe,
    ) -> Result<Self, TrainError> {
        let width = texts.embeddings().width();
        let sees_outliers = method.needs.outlier_examples > 0;
        let (normal, outliers) = (examples.normal.len(), if sees_outliers { examples.outliers.len() } else { 0 });
        let batch = recipe.batch.min(normal.max(outliers)).max(1);
        let per_epoch = normal.div_ceil(batch);
        let (shift, scale) = match loss {
            // the centre must stay away from zero, or the map of zeros would be perfect
            Loss::Dsvdd => (vec![0.0; width], 1.0),
            _ => standard(width, examples),
        };
        let mut random = Random::new(seed, 1);
        let deviation = (recipe.start / (width as f64).sqrt()) as f32;
        let drawn: Vec<f32> = (0..recipe.rows * width).map(|_| deviation * random.normal()).collect();
        let mut parameters = vec![Parameter::new(variable(drawn, (recipe.rows, width))?)?];
        match loss {
            Loss::Bce | Loss::Focal => parameters.push(Parameter::new(variable(vec![0.0], (1, 1))?)?),
            // zeros: the correction begins with none
            Loss::ClipOe => {
                parameters.push(Parameter::new(variable(vec![0.0; width * recipe.rows], (width, recipe.rows))?)?)
            }
            Loss::Hsc | Loss::Dsad | Loss::Dsvdd => {}
        }
        let mut numbers = examples.normal.as_slice().to_vec();
        if sees_outliers {
            numbers.extend_from_slice(examples.outliers.as_slice());
        }
        let shape = (normal + outliers, width);
        let fixed = match loss {
            Loss::ClipOe => {
                let texts = texts.embeddings();
                let columns = Tensor::from_slice(texts.as_slice(), (texts.len(), width), &Device::Cpu)?;
                let texts = columns.t()?.contiguous()?;
                let embeddings = Tensor::from_slice(&numbers, shape, &Device::Cpu)?;
                Some(Fixed { cosines: embeddings.matmul(&texts)?, embeddings, texts })
            }
            _ => None,
        };
        for row in numbers.chunks_exact_mut(width) {
            row.iter_mut().zip(&shift).for_each(|(x, s)| *x = (*x - s) * scale);
        }
        let mut training = Self {
            loss,
            recipe,
            width,
            shift,
            scale,
            inputs: Tensor::from_vec(numbers, shape, &Device::Cpu)?,
            fixed,
            normal,
            kinds: texts.kinds().to_vec(),
            centre: None,
            parameters,
            normal_deck: Deck::new(Random::new(seed, 2), normal),
            outlier_deck: (outliers > 0).then(|| Deck::new(Random::new(seed, 3), outliers)),
            batch,
            done: 0,
            total: (recipe.epochs * per_epoch).max(recipe.least_steps),
            last_loss: None,
        };
        if loss == Loss::Dsvdd {
            let weights = training.parameters[0].weights.as_tensor().detach();
            training.centre = Some(centre(&training.inputs.matmul(&weights.t()?)?)?);
        }
        Ok(training)
    }

    /// Outputs of the head for mapped rows; `rows` are their numbers.
    fn outputs(&self, mapped: &Tensor, rows: &Tensor) -> Result<Tensor, TrainError> {
        Ok(match (&self.centre, &self.fixed) {
            (Some(centre), _) => mapped.broadcast_sub(centre)?,
            (_, Some(fixed)) => {
                // cosine of e + U m with a text t, by products that are narrow: (e t + m U't) / |e + U m|, where
                // |e + U m|^2 = 1 + m (2 U'e + U'U m)
                let up = &self.parameters[1].weights;
                let product =
                    (fixed.cosines.index_select(rows, 0)? + mapped.matmul(&up.t()?.matmul(&fixed.texts)?)?)?;
                let across = (fixed.embeddings.index_select(rows, 0)?.matmul(up)? * 2.0)?;
                let square = (across + mapped.matmul(&up.t()?.matmul(up)?)?)?.mul(mapped)?.sum_keepdim(1)?;
                // a correction that takes all length away, up to rounding
                let length = ((square + 1.0)?.relu()? + 1e-12)?.sqrt()?;
                product.broadcast_div(&length)?
            }
            _ if self.parameters.len() > 1 => mapped.broadcast_add(&self.parameters[1].weights)?,
            _ => mapped.clone(),
        })
    }

    /// The mean loss of some rows, `normal` normal ones in front of outliers, and its gradients along the parameters.
    ///
    /// Autograd begins after the map: the gradient of `x W^T` with respect to `W` is `g^T x`, and candle would also make that
    /// with respect to `x`, which nobody asks for.
    fn gradients(&self, rows: Vec<u32>, normal: usize) -> Result<(f64, Vec<Tensor>), TrainError> {
        let count = rows.len();
        let rows = Tensor::from_vec(rows, count, &Device::Cpu)?;
        let x = self.inputs.index_select(&rows, 0)?;
        let weights = self.parameters[0].weights.as_tensor().detach();
        let mapped = Var::from_tensor(&x.matmul(&weights.t()?)?)?;
        let f = self.outputs(&mapped, &rows)?;
        let of_normal = f.narrow(0, 0, normal)?;
        let of_outliers = if count > normal { Some(f.narrow(0, normal, count - normal)?) } else { None };
        let outputs = Outputs { normal: &of_normal, outliers: of_outliers.as_ref() };
        let loss = mean_loss(self.loss, &outputs, &self.kinds)?;
        let found = loss.backward()?;
        let gradient = |of: &Var| found.get(of).cloned().map_or_else(|| of.zeros_like(), Ok);
        let mut gradients = vec![gradient(&mapped)?.t()?.matmul(&x)?];
        for parameter in &self.parameters[1..] {
            gradients.push(gradient(&parameter.weights)?);
        }
        Ok((f64::from(loss.to_scalar::<f32>()?), gradients))
    }

    fn step(&mut self, method: &'static Method) -> Result<(), TrainError> {
        let mut rows: Vec<u32> = (0..self.batch).map(|_| self.normal_deck.draw() as u32).collect();
        if let Some(deck) = &mut self.outlier_deck {
            rows.extend((0..self.batch).map(|_| (self.normal + deck.draw()) as u32));
        }
        let (loss, gradients) = self.gradients(rows, self.batch)?;
        if !loss.is_finite() {
            return Err(TrainError::Diverged { method: method.name, step: self.done });
        }
        let rate = self.recipe.rate * (1.0 - self.done as f64 / self.total as f64);
        descend(&mut self.parameters, &gradients, rate, &self.recipe)?;
        self.last_loss = Some(loss);
        self.done += 1;
        Ok(())
    }

    fn head(&self, method: &'static Method) -> Result<Head, TrainError> {
        let numbers = |tensor: &Tensor| -> Result<Vec<f32>, TrainError> { Ok(tensor.flatten_all()?.to_vec1::<f32>()?) };
        let map = numbers(&self.parameters[0].weights)?;
        let rest = match self.loss {
            Loss::Bce | Loss::Focal => Rest::Bias(numbers(&self.parameters[1].weights)?[0]),
            Loss::Hsc | Loss::Dsad => Rest::Nothing,
            Loss::Dsvdd => Rest::Centre(match &self.centre {
                Some(centre) => numbers(centre)?,
                None => vec![0.0; self.recipe.rows],
            }),
            Loss::ClipOe => Rest::Up(numbers(&self.parameters[1].weights)?),
        };
        let finite = map.iter().all(|w| w.is_finite())
            && match &rest {
                Rest::Nothing => true,
                Rest::Bias(bias) => bias.is_finite(),
                Rest::Centre(numbers) | Rest::Up(numbers) => numbers.iter().all(|w| w.is_finite()),
            };
        if !finite {
            return Err(TrainError::Diverged { method: method.name, step: self.done });
        }
        Ok(Head { loss: self.loss, width: self.width, shift: self.shift.clone(), scale: self.scale, map, rest })
    }
}

/// One step of gradient descent with Nesterov's momentum and weight decay, as PyTorch's `SGD(nesterov=True)`:
/// `g += decay w; v = m v + g; w -= rate (g + m v)`, after all gradients together were cut to a length of `clip`.
fn descend(parameters: &mut [Parameter], gradients: &[Tensor], rate: f64, recipe: &Recipe) -> Result<(), TrainError> {
    let mut square = 0f64;
    for gradient in gradients {
        square += f64::from(gradient.sqr()?.sum_all()?.to_scalar::<f32>()?);
    }
    let length = square.sqrt();
    let cut = if length > recipe.clip { recipe.clip / length } else { 1.0 };
    for (parameter, gradient) in parameters.iter_mut().zip(gradients) {
        let weights = parameter.weights.as_tensor().detach();
        let gradient = ((gradient * cut)? + (&weights * recipe.weight_decay)?)?;
        parameter.velocity = ((&parameter.velocity * MOMENTUM)? + &gradient)?.detach();
        let change = ((gradient + (&parameter.velocity * MOMENTUM)?)? * rate)?;
        parameter.weights.set(&(weights - change)?)?;
    }
    Ok(())
}

fn variable(values: Vec<f32>, shape: (usize, usize)) -> Result<Var, TrainError> {
    Ok(Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?)?)
}

/// The mean of the normal examples, and one over the mean distance of all examples from it: embeddings of CLIP fill a narrow
/// cone, in which all would look alike to a map without bias.
fn standard(width: usize, examples: &Examples) -> (Vec<f32>, f32) {
    let mut mean = vec![0f64; width];
    for row in examples.normal.rows() {
        mean.iter_mut().zip(row).for_each(|(m, &x)| *m += f64::from(x) / examples.normal.len() as f64);
    }
    let distance = |row: &[f32]| row.iter().zip(&mean).map(|(&x, m)| (f64::from(x) - m).powi(2)).sum::<f64>().sqrt();
    let distances: Vec<f64> = examples.normal.rows().chain(examples.outliers.rows()).map(distance).collect();
    let typical = distances.iter().sum::<f64>() / distances.len().max(1) as f64;
    // one picture alone (or copies of it) has no spread
    let scale = if typical > 1e-3 { 1.0 / typical } else { 1.0 };
    (mean.into_iter().map(|m| m as f32).collect(), scale as f32)
}

/// The mean of the rows of `f`, with numbers near zero moved away from it.
fn centre(f: &Tensor) -> Result<Tensor, TrainError> {
    let mean = f.mean_keepdim(0)?.detach();
    let width = mean.elem_count();
    let floored: Vec<f32> = mean
        .flatten_all()?
        .to_vec1::<f32>()?
        .into_iter()
        .map(|c| if c.abs() >= CENTRE_FLOOR { c } else { CENTRE_FLOOR.copysign(c) })
        .collect();
    Ok(Tensor::from_vec(floored, (1, width), &Device::Cpu)?)
}
