package cli

const ballastBytes = 32 << 20

// ballast is heap that nobody touches: it takes address space and no memory,
// and lets the garbage collector wait until there is as much garbage. Without
// it a server's live heap, a few megabytes, is collected after every few
// hundred calls, which is a third of what a call costs. Unlike a higher GOGC
// it adds the same to a large heap as to a small one. Who has tuned the
// collector gets none.
func (a *app) ballast() []byte {
	if a.getenv("GOGC") != "" || a.getenv("GOMEMLIMIT") != "" {
		return nil
	}
	return make([]byte, ballastBytes)
}
