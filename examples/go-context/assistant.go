package main

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // the sandbox may have no time zones

	"github.com/cloudwego/eino/components/tool"
	"github.com/cloudwego/eino/schema"
)

const assistantPrompt = "You are a helpful assistant. You calculate, and tell the weather and the time, with your tools."

type weatherArgs struct {
	City string `json:"city,omitempty" jsonschema_description:"Name of the city."`
}

type timeArgs struct {
	Timezone string `json:"timezone,omitempty" jsonschema_description:"An IANA time zone, such as Europe/Paris; UTC if left out."`
}

type calculatorArgs struct {
	Expression string `json:"expression" jsonschema:"required" jsonschema_description:"Numbers with + - * / % and parentheses, such as 2 * (3 + 4)."`
}

func assistantTools() ([]tool.BaseTool, error) {
	weather, err1 := newTool("get_weather", "Tell the current weather.", func(_ context.Context, in weatherArgs) (string, error) {
		if in.City == "" {
			in.City = "your city"
		}
		return "It is sunny in " + in.City + ".", nil // a dummy, so that the example needs no network
	})
	clock, err2 := newTool("get_time", "Tell the current date and time.", func(_ context.Context, in timeArgs) (string, error) {
		zone, err := time.LoadLocation(in.Timezone)
		if err != nil {
			return "", err
		}
		return time.Now().In(zone).Format("2006-01-02 15:04:05 MST"), nil
	})
	calculator, err3 := newTool("calculator", "Work out an arithmetic expression.", func(_ context.Context, in calculatorArgs) (string, error) {
		return evaluate(in.Expression)
	})
	for _, err := range []error{err1, err2, err3} {
		if err != nil {
			return nil, err
		}
	}
	return []tool.BaseTool{weather, clock, calculator}, nil
}

// script decides what the scripted model says after the last message, the
// user's or the tools'.
func script(messages []*schema.Message) Turn {
	question, _, _ := strings.Cut(asked(messages), "\n\n") // what follows is context
	var turn Turn
	if answers := lastResults(messages); len(answers) > 0 {
		var sentences []string
		for _, answer := range answers {
			sentences = append(sentences, sentence(answer))
		}
		turn.Text = strings.Join(sentences, " ")
	} else {
		turn = understand(question, results(messages))
	}
	if name := userName.FindStringSubmatch(question); name != nil && turn.Text != "" {
		turn.Text = "Hello " + name[1] + ". " + turn.Text
	}
	return turn
}

const (
	abilities = "I am a small scripted model and know three things: sums (try 2X5, then: and that plus 34?), " +
		"the weather (what's the weather in Paris?) and the time (what time is it?). " +
		"The README says how to give me a real model for everything else."
	noSumYet = "I have no result to go on with: nothing was calculated in this session yet. Try 2X5 first."
)

var (
	userName = regexp.MustCompile(`^My name is (\w+)\.`)
	breakOff = regexp.MustCompile(`(?i)\bbreak off\b`)
	weather  = regexp.MustCompile(`(?i)\bweather\b`)
	city     = regexp.MustCompile(`\bin ([A-Z][\w'’-]*(?: [A-Z][\w'’-]*)*)`)
	clock    = regexp.MustCompile(`(?i)\bwhat(['’]s| is)?( the)?( current)? (time|date)\b|\btime is it\b|\bo'?clock\b`)
	zone     = regexp.MustCompile(`\b[A-Z]\w+/[A-Z]\w+\b`)
)

var errBrokeOff = errors.New("the model broke off, as you asked")

func understand(prompt string, earlier []Result) (turn Turn) {
	if breakOff.MatchString(prompt) {
		return Turn{Text: "I begin to answer, and then ", Err: errBrokeOff}
	}
	if sum := findSum(prompt); len(sum) > 0 {
		if slices.Contains(sum, previous) {
			last, ok := lastSum(earlier)
			if !ok {
				return Turn{Text: noSumYet}
			}
			for i := range sum {
				if sum[i] == previous {
					sum[i] = last
				}
			}
		}
		turn.Calls = append(turn.Calls, ToolCall{"calculator", map[string]any{"expression": strings.Join(sum, " ")}})
	}
	if weather.MatchString(prompt) {
		args := map[string]any{}
		if m := city.FindStringSubmatch(prompt); m != nil {
			args["city"] = m[1]
		}
		turn.Calls = append(turn.Calls, ToolCall{"get_weather", args})
	}
	if clock.MatchString(prompt) {
		turn.Calls = append(turn.Calls, ToolCall{"get_time", map[string]any{"timezone": zone.FindString(prompt)}})
	}
	if len(turn.Calls) == 0 {
		turn.Text = abilities
	}
	return turn
}

func lastSum(earlier []Result) (string, bool) {
	for _, r := range slices.Backward(earlier) {
		if _, bad := r.Failure(); r.Call.Tool == "calculator" && !bad {
			return r.Text, true
		}
	}
	return "", false
}

// sentence says in words what a tool answered.
func sentence(r Result) string {
	why, bad := r.Failure()
	switch {
	case bad:
		return fmt.Sprintf("The tool %s failed: %s.", r.Call.Tool, why)
	case r.Call.Tool == "calculator":
		return fmt.Sprintf("%s is %s.", r.Call.Args["expression"], r.Text)
	case r.Call.Tool == "get_time":
		return "It is " + r.Text + "."
	}
	return r.Text
}

const previous = "that" // stands for the last result in what findSum returns

var (
	tokens = regexp.MustCompile(`(?i)\d+(?:\.\d+)?|multiplied by|divided by|the result|the answer|\pL+|[-+*/%×÷−()]`)
	number = regexp.MustCompile(`^\d`)
	// terms maps what may stand in a sum to how it is written there.
	terms = map[string]string{
		"+": "+", "-": "-", "*": "*", "/": "/", "%": "%", "(": "(", ")": ")", "×": "*", "÷": "/", "−": "-",
		"x": "*", "times": "*", "multiplied by": "*", "plus": "+", "minus": "-", "divided by": "/", "over": "/", "mod": "%",
		"that": previous, "it": previous, "the result": previous, "the answer": previous,
	}
)

// findSum returns the first arithmetic in a sentence, in the calculator's
// notation: "what is 6 times 7?" gives 6 * 7, and "and that plus 34?" and "plus
// 34" give that + 34. It is empty if there is none.
func findSum(prompt string) []string {
	var run []string
	signed := false
	for _, t := range append(tokens.FindAllString(strings.ToLower(prompt), -1), "") {
		if number.MatchString(t) {
			run = append(run, t)
			continue
		}
		if term, ok := terms[t]; ok {
			if len(run) == 0 {
				signed = t == "-" // -3 plus 5 starts with a sign, minus 3 does not
			}
			run = append(run, term)
			continue
		}
		if slices.ContainsFunc(run, number.MatchString) && slices.ContainsFunc(run, isOperator) {
			if isOperator(run[0]) && !signed {
				run = slices.Insert(run, 0, previous)
			}
			return run
		}
		run = nil
	}
	return nil
}

func isOperator(term string) bool { return strings.Contains("+-*/%", term) }
