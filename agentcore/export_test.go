package agentcore

// Patterns are those that the control plane's routes are registered with, and
// the operation that each serves.
func Patterns() map[string]string {
	all := make(map[string]string)
	for _, op := range operations {
		for _, p := range op.patterns() {
			all[p] = op.name
		}
	}
	return all
}
