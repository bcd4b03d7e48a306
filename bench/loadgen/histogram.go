package main

import (
	"math/bits"
	"time"
)

// Values share a bucket with those that agree in their first 8 bits: at most 0.8 % apart.
const (
	precision = 8
	half      = 1 << (precision - 1)
)

type histogram struct {
	buckets [(64 - precision + 2) * half]int64
	count   int64
	sum     int64
}

func bucket(value uint64) int {
	shift := max(bits.Len64(value)-precision, 0)
	return shift*half + int(value>>shift)
}

// middle of a bucket's values.
func middle(bucket int) float64 {
	shift := max(bucket/half-1, 0)
	low := uint64(bucket-shift*half) << shift
	return float64(low) + float64(uint64(1)<<shift-1)/2
}

func (h *histogram) record(d time.Duration) {
	h.buckets[bucket(uint64(max(d, 0)))]++
	h.count++
	h.sum += int64(d)
}

func (h *histogram) merge(o *histogram) {
	for i, n := range o.buckets {
		h.buckets[i] += n
	}
	h.count += o.count
	h.sum += o.sum
}

// quantile in microseconds; 0 when nothing was recorded.
func (h *histogram) quantile(q float64) float64 {
	rank := max(int64(q*float64(h.count)+0.5), 1)
	for i, n := range h.buckets {
		if rank -= n; n > 0 && rank <= 0 {
			return middle(i) / 1e3
		}
	}
	return 0
}

func (h *histogram) mean() float64 {
	return float64(h.sum) / float64(max(h.count, 1)) / 1e3
}
