module github.com/isolde-run/isolde/agent

go 1.25
