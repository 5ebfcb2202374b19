module example.com/bench-agent

go 1.24
