//! [`Fit`]: from a method and examples to a detector, batch by batch.

use std::sync::Arc;

use candle_core::{Device, Tensor, Var};

use super::head::Rest;
use super::loss::{Outputs, mean_loss};
use super::random::{Deck, Random};
use super::recipe::MOMENTUM;
use super::{Detector, Examples, Head, Progress, Recipe, Stepwise, Texts, TrainError};
use crate::embedding::Embeddings;
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
    examples: Examples,
    kinds: Vec<EntryKind>,
    /// `d x entries`; CLIP-OE alone looks at them.
    texts: Tensor,
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
        let columns =
            Tensor::from_slice(texts.embeddings().as_slice(), (texts.embeddings().len(), width), &Device::Cpu)?
                .t()?
                .contiguous()?;
        let mut training = Self {
            loss,
            recipe,
            width,
            shift,
            scale,
            examples: examples.clone(),
            kinds: texts.kinds().to_vec(),
            texts: columns,
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
            let all: Vec<usize> = (0..normal).collect();
            let f = training.outputs(&rows(&training.examples.normal, &all), normal)?;
            training.centre = Some(centre(&f)?);
        }
        Ok(training)
    }

    /// Outputs of the head for `n` embeddings (`n x d` numbers).
    fn outputs(&self, embeddings: &[f32], n: usize) -> Result<Tensor, TrainError> {
        let shifted: Vec<f32> = embeddings
            .chunks_exact(self.width)
            .flat_map(|row| row.iter().zip(&self.shift).map(|(x, s)| (x - s) * self.scale))
            .collect();
        let shifted = Tensor::from_vec(shifted, (n, self.width), &Device::Cpu)?;
        let mapped = shifted.matmul(&self.parameters[0].weights.t()?)?;
        Ok(match self.loss {
            Loss::Bce | Loss::Focal => mapped.broadcast_add(&self.parameters[1].weights)?,
            Loss::Hsc | Loss::Dsad => mapped,
            Loss::Dsvdd => match &self.centre {
                Some(centre) => mapped.broadcast_sub(centre)?,
                None => mapped,
            },
            Loss::ClipOe => {
                let embeddings = Tensor::from_slice(embeddings, (n, self.width), &Device::Cpu)?;
                let moved = (embeddings + mapped.matmul(&self.parameters[1].weights.t()?)?)?;
                let length = moved.sqr()?.sum_keepdim(1)?.sqrt()?;
                moved.matmul(&self.texts)?.broadcast_div(&length)?
            }
        })
    }

    /// The mean loss of some of the examples.
    fn loss_of(&self, normal: &[usize], outliers: &[usize]) -> Result<Tensor, TrainError> {
        let mut batch = rows(&self.examples.normal, normal);
        batch.extend(rows(&self.examples.outliers, outliers));
        let f = self.outputs(&batch, normal.len() + outliers.len())?;
        let of_normal = f.narrow(0, 0, normal.len())?;
        let of_outliers = match outliers.len() {
            0 => None,
            n => Some(f.narrow(0, normal.len(), n)?),
        };
        let outputs = Outputs { normal: &of_normal, outliers: of_outliers.as_ref() };
        Ok(mean_loss(self.loss, &outputs, &self.kinds)?)
    }

    fn step(&mut self, method: &'static Method) -> Result<(), TrainError> {
        let normal: Vec<usize> = (0..self.batch).map(|_| self.normal_deck.draw()).collect();
        let outliers: Vec<usize> =
            self.outlier_deck.iter_mut().flat_map(|deck| (0..self.batch).map(|_| deck.draw())).collect();
        let loss = self.loss_of(&normal, &outliers)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        if !value.is_finite() {
            return Err(TrainError::Diverged { method: method.name, step: self.done });
        }
        let gradients = loss.backward()?;
        let gradients: Vec<Tensor> = self
            .parameters
            .iter()
            .map(|p| gradients.get(&p.weights).cloned().map_or_else(|| p.weights.zeros_like(), Ok))
            .collect::<Result<_, _>>()?;
        let rate = self.recipe.rate * (1.0 - self.done as f64 / self.total as f64);
        descend(&mut self.parameters, &gradients, rate, &self.recipe)?;
        self.last_loss = Some(value);
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

/// The numbers of some rows, one after another.
fn rows(embeddings: &Embeddings, rows: &[usize]) -> Vec<f32> {
    rows.iter().flat_map(|&row| embeddings.row(row)).copied().collect()
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
