module github.com/isolde-run/isolde

go 1.26
