// Tells whether this engine has relaxed SIMD and threads, and with it which of the worker's programs is used: for the worker, which
// imports this, and the service worker, which has no modules everywhere.

{
  // The smallest module with such an instruction: (func (result v128) v128.const 0, v128.const 0, i16x8.relaxed_dot_i8x16_i7x16_s).
  const zero = [253, 12, ...new Array(16).fill(0)];
  const code = [0, ...zero, ...zero, 253, 146, 2, 11];
  const module = [0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, code.length + 2, 1, code.length, ...code];
  self.hasRelaxedSimd = WebAssembly.validate(new Uint8Array(module));

  // (memory 1 1 shared), (func i32.const 0, i32.atomic.load, drop); and what wakes Rust's futures in such a program
  const shared = [0, 97, 115, 109, 1, 0, 0, 0, 1, 4, 1, 96, 0, 0, 3, 2, 1, 0, 5, 4, 1, 3, 1, 1, 10, 11, 1, 9, 0, 65, 0, 254, 16, 2, 0, 26, 11];
  self.hasThreads = WebAssembly.validate(new Uint8Array(shared)) && typeof Atomics.waitAsync === 'function';
}
