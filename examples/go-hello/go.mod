module example.com/go-hello

go 1.25

require github.com/isolde-run/isolde/agent v0.1.0

// In this repository. In a project of yours: go get github.com/isolde-run/isolde/agent
replace github.com/isolde-run/isolde/agent => ../../agent
