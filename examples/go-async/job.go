package main

import (
	"context"
	"fmt"
	"math/big"
	"sync"
	"time"
)

const (
	maxLimit = 100_000_000
	piece    = 100_000 // numbers between two looks at the progress
)

// Job counts primes. Its methods may be called while it runs.
type Job struct {
	Limit int
	Pause time.Duration // after each piece: stands for the waiting that long work usually does

	mu      sync.Mutex
	reached int
	count   int
	err     error
	done    bool
}

// Run counts until all is counted or ctx ends.
func (j *Job) Run(ctx context.Context) error {
	err := j.run(ctx)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.err, j.done = err, true
	return err
}

func (j *Job) run(ctx context.Context) error {
	for low := 0; low < j.Limit; low += piece {
		high, count := min(low+piece, j.Limit), 0
		for n := low; n < high; n++ {
			if (n == 2 || n%2 == 1) && big.NewInt(int64(n)).ProbablyPrime(0) { // exact below 2^64
				count++
			}
		}
		j.mu.Lock()
		j.reached, j.count = high, j.count+count
		j.mu.Unlock()
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(j.Pause):
		}
	}
	return nil
}

// Done reports whether the job ended.
func (j *Job) Done() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.done
}

// String tells the progress, or the result.
func (j *Job) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	switch {
	case j.err != nil:
		return fmt.Sprintf("The work failed: %v.", j.err)
	case j.done:
		return fmt.Sprintf("There are %d primes below %d.", j.count, j.Limit)
	}
	return fmt.Sprintf("Not done yet: %d primes below %d, of %d.", j.count, j.reached, j.Limit)
}
