//! Strided views: a channel range of every pixel of a buffer.
//!
//! A concat is where its producers write and a split is where its consumers read, so kernels see
//! their operands as views: `c` dense channels a pixel, pixels `pixel_stride` elements apart. Pixels
//! are numbered `(n·h + y)·w + x`.

use std::marker::PhantomData;
use std::ops::Range;

use super::Shape;

/// A read-only view of `shape`, pixels `pixel_stride` elements apart.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    pointer: *const T,
    shape: Shape,
    pixel_stride: usize,
    life: PhantomData<&'a [T]>,
}

// SAFETY: a View is a shared borrow of its elements, as `&[T]` is.
unsafe impl<T: Sync> Send for View<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for View<'_, T> {}

impl<'a, T> View<'a, T> {
    /// A view of all of `data`.
    ///
    /// # Panics
    /// Where `data` does not have `shape.elements()` elements.
    pub fn dense(data: &'a [T], shape: Shape) -> Self {
        assert_eq!(data.len(), shape.elements(), "a dense view of {shape}");
        View { pointer: data.as_ptr(), shape, pixel_stride: shape.c, life: PhantomData }
    }

    /// A view of `shape` at `pointer`.
    ///
    /// # Safety
    /// For `'a`, the `shape.c` elements at `pointer + pixel · pixel_stride` are readable and not
    /// written by others, for every pixel of `shape`.
    pub unsafe fn from_raw(pointer: *const T, shape: Shape, pixel_stride: usize) -> Self {
        View { pointer, shape, pixel_stride, life: PhantomData }
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Elements from one pixel to the next.
    pub fn pixel_stride(&self) -> usize {
        self.pixel_stride
    }

    /// The first element.
    pub fn as_ptr(&self) -> *const T {
        self.pointer
    }

    /// The channels of pixel `index`.
    ///
    /// # Panics
    /// Where `index` is not below `shape.pixels()`.
    #[inline]
    pub fn pixel(&self, index: usize) -> &'a [T] {
        assert!(index < self.shape.pixels());
        // SAFETY: the view covers `c` elements at every pixel of its shape (constructors).
        unsafe { std::slice::from_raw_parts(self.pointer.add(index * self.pixel_stride), self.shape.c) }
    }

    /// The channels of the pixel at image `n`, row `y`, column `x`.
    #[inline]
    pub fn at(&self, n: usize, y: usize, x: usize) -> &'a [T] {
        debug_assert!(y < self.shape.h && x < self.shape.w);
        self.pixel((n * self.shape.h + y) * self.shape.w + x)
    }

    /// All elements, where they lie densely.
    pub fn as_slice(&self) -> Option<&'a [T]> {
        let dense = self.pixel_stride == self.shape.c || self.shape.pixels() <= 1;
        // SAFETY: with stride c the pixels are adjacent, so the view covers all elements.
        dense.then(|| unsafe { std::slice::from_raw_parts(self.pointer, self.shape.elements()) })
    }

    /// The channels `range` of every pixel.
    ///
    /// # Panics
    /// Where `range` leaves the channels.
    pub fn channels(&self, range: Range<usize>) -> View<'a, T> {
        assert!(range.start <= range.end && range.end <= self.shape.c);
        View {
            // SAFETY: start ≤ c, so the pointer stays within the first pixel (or at its end).
            pointer: unsafe { self.pointer.add(range.start) },
            shape: self.shape.with_c(range.len()),
            ..*self
        }
    }

    /// The same pixels as one image of one row, `[1, 1, n·h·w, c]`.
    pub fn flat(&self) -> View<'a, T> {
        View { shape: Shape::new(1, 1, self.shape.pixels(), self.shape.c), ..*self }
    }
}

impl<T: Copy> View<'_, T> {
    /// The elements, copied densely.
    pub fn to_vec(&self) -> Vec<T> {
        (0..self.shape.pixels()).flat_map(|i| self.pixel(i).iter().copied()).collect()
    }
}

/// A writable view of `shape`, pixels `pixel_stride` elements apart; the elements between the
/// channels of two pixels belong to others and are never touched.
#[derive(Debug)]
pub struct ViewMut<'a, T> {
    pointer: *mut T,
    shape: Shape,
    pixel_stride: usize,
    life: PhantomData<&'a mut [T]>,
}

// SAFETY: a ViewMut is an exclusive borrow of its elements, as `&mut [T]` is.
unsafe impl<T: Send> Send for ViewMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for ViewMut<'_, T> {}

impl<'a, T> ViewMut<'a, T> {
    /// A view of all of `data`.
    ///
    /// # Panics
    /// Where `data` does not have `shape.elements()` elements.
    pub fn dense(data: &'a mut [T], shape: Shape) -> Self {
        assert_eq!(data.len(), shape.elements(), "a dense view of {shape}");
        ViewMut { pointer: data.as_mut_ptr(), shape, pixel_stride: shape.c, life: PhantomData }
    }

    /// A view of `shape` at `pointer`.
    ///
    /// # Safety
    /// For `'a`, the `shape.c` elements at `pointer + pixel · pixel_stride` are readable, writable
    /// and not accessed by others, for every pixel of `shape`.
    pub unsafe fn from_raw(pointer: *mut T, shape: Shape, pixel_stride: usize) -> Self {
        ViewMut { pointer, shape, pixel_stride, life: PhantomData }
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// Elements from one pixel to the next.
    pub fn pixel_stride(&self) -> usize {
        self.pixel_stride
    }

    /// The first element.
    pub fn as_mut_ptr(&mut self) -> *mut T {
        self.pointer
    }

    /// Borrows for reading.
    pub fn view(&self) -> View<'_, T> {
        View { pointer: self.pointer, shape: self.shape, pixel_stride: self.pixel_stride, life: PhantomData }
    }

    /// Borrows for writing, for a shorter time.
    pub fn reborrow(&mut self) -> ViewMut<'_, T> {
        ViewMut {
            pointer: self.pointer,
            shape: self.shape,
            pixel_stride: self.pixel_stride,
            life: PhantomData,
        }
    }

    /// The channels of pixel `index`.
    ///
    /// # Panics
    /// Where `index` is not below `shape.pixels()`.
    #[inline]
    pub fn pixel(&mut self, index: usize) -> &mut [T] {
        assert!(index < self.shape.pixels());
        // SAFETY: the view covers `c` elements at every pixel of its shape (constructors), and
        // `&mut self` makes this the only access.
        unsafe { std::slice::from_raw_parts_mut(self.pointer.add(index * self.pixel_stride), self.shape.c) }
    }

    /// The channels of the pixel at image `n`, row `y`, column `x`.
    #[inline]
    pub fn at(&mut self, n: usize, y: usize, x: usize) -> &mut [T] {
        debug_assert!(y < self.shape.h && x < self.shape.w);
        self.pixel((n * self.shape.h + y) * self.shape.w + x)
    }

    /// All elements, where they lie densely.
    pub fn as_mut_slice(&mut self) -> Option<&mut [T]> {
        let dense = self.pixel_stride == self.shape.c || self.shape.pixels() <= 1;
        // SAFETY: with stride c the pixels are adjacent, so the view covers all elements.
        dense.then(|| unsafe { std::slice::from_raw_parts_mut(self.pointer, self.shape.elements()) })
    }

    /// The channels `range` of every pixel.
    ///
    /// # Panics
    /// Where `range` leaves the channels.
    pub fn channels(self, range: Range<usize>) -> ViewMut<'a, T> {
        assert!(range.start <= range.end && range.end <= self.shape.c);
        ViewMut {
            // SAFETY: start ≤ c, so the pointer stays within the first pixel (or at its end).
            pointer: unsafe { self.pointer.add(range.start) },
            shape: self.shape.with_c(range.len()),
            ..self
        }
    }

    /// The same pixels as one image of one row, `[1, 1, n·h·w, c]`.
    pub fn flat(self) -> ViewMut<'a, T> {
        ViewMut { shape: Shape::new(1, 1, self.shape.pixels(), self.shape.c), ..self }
    }

    /// Cuts the pixels into consecutive runs of at most `pixels_per_chunk`, each a flat view
    /// `[1, 1, pixels, c]`, for threads to write side by side.
    pub fn chunks(self, pixels_per_chunk: usize) -> Vec<ViewMut<'a, T>> {
        let total = self.shape.pixels();
        let step = pixels_per_chunk.max(1);
        (0..total)
            .step_by(step)
            .map(|start| ViewMut {
                // SAFETY: start < pixels, so the pointer is that of a pixel of the view.
                pointer: unsafe { self.pointer.add(start * self.pixel_stride) },
                shape: Shape::new(1, 1, step.min(total - start), self.shape.c),
                pixel_stride: self.pixel_stride,
                life: PhantomData,
            })
            .collect()
    }
}

impl<T: Copy> ViewMut<'_, T> {
    /// Writes `value` everywhere.
    pub fn fill(&mut self, value: T) {
        for i in 0..self.shape.pixels() {
            self.pixel(i).fill(value);
        }
    }

    /// Copies all of `source`.
    ///
    /// # Panics
    /// Where the pixel counts or the channels differ.
    pub fn copy_from(&mut self, source: View<'_, T>) {
        assert_eq!(self.shape.pixels(), source.shape.pixels());
        for i in 0..self.shape.pixels() {
            self.pixel(i).copy_from_slice(source.pixel(i));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_slice_touches_only_its_channels() {
        let mut data: Vec<f32> = (0..12).map(|v| v as f32).collect();
        let shape = Shape::new(1, 1, 2, 6);
        ViewMut::dense(&mut data, shape).channels(2..4).fill(-1.0);
        let view = View::dense(&data, shape);
        assert_eq!(view.pixel(1), [6.0, 7.0, -1.0, -1.0, 10.0, 11.0]);
        assert_eq!(view.channels(1..3).to_vec(), [1.0, -1.0, 7.0, -1.0]);
    }

    #[test]
    fn chunks_cover_every_pixel_once() {
        let mut data = vec![0u32; 7 * 3];
        for (i, mut chunk) in
            ViewMut::dense(&mut data, Shape::new(1, 7, 1, 3)).chunks(3).into_iter().enumerate()
        {
            chunk.fill(i as u32 + 1);
        }
        assert_eq!(data.iter().filter(|&&v| v == 3).count(), 3);
        assert!(data.iter().all(|&v| v > 0));
    }
}
