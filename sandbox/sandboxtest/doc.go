// Package sandboxtest proves that a driver keeps the promises of package
// sandbox, and plays a driver where none is needed.
//
// [Run] is the conformance suite. It starts real sandboxes with a small
// static agent (testagent, driven by JSON commands) and checks with
// [Leftovers] that nothing stays on the host. [Fake] is a scriptable driver in
// memory for the tests of sessions and of the gateway.
package sandboxtest
