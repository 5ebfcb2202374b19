package main

import (
	"fmt"
	"go/ast"
	"go/constant"
	"go/parser"
	"go/token"
	"strconv"
)

// maxExpression bounds an expression, in bytes, and so how deep it nests.
const maxExpression = 200

// evaluate works out arithmetic that a stranger wrote: numbers with + - * / %
// and parentheses, exactly.
func evaluate(expression string) (string, error) {
	if len(expression) > maxExpression {
		return "", fmt.Errorf("the expression has %d characters; at most %d are allowed", len(expression), maxExpression)
	}
	tree, err := parser.ParseExpr(expression)
	if err != nil {
		return "", fmt.Errorf("%q is not an arithmetic expression", expression)
	}
	v, err := value(tree)
	if err != nil {
		return "", err
	}
	if whole := constant.ToInt(v); whole.Kind() == constant.Int {
		return whole.ExactString(), nil
	}
	f, _ := constant.Float64Val(v)
	return strconv.FormatFloat(f, 'g', 12, 64), nil
}

func value(e ast.Expr) (constant.Value, error) {
	switch e := e.(type) {
	case *ast.BasicLit:
		if e.Kind == token.INT || e.Kind == token.FLOAT {
			return constant.MakeFromLiteral(e.Value, e.Kind, 0), nil
		}
	case *ast.ParenExpr:
		return value(e.X)
	case *ast.UnaryExpr:
		x, err := value(e.X)
		if err == nil && (e.Op == token.ADD || e.Op == token.SUB) {
			return constant.UnaryOp(e.Op, x, 0), nil
		}
		if err != nil {
			return nil, err
		}
	case *ast.BinaryExpr:
		return binary(e)
	}
	return nil, fmt.Errorf("only numbers, + - * / %% and parentheses are arithmetic")
}

func binary(e *ast.BinaryExpr) (constant.Value, error) {
	x, err := value(e.X)
	if err != nil {
		return nil, err
	}
	y, err := value(e.Y)
	if err != nil {
		return nil, err
	}
	switch {
	case (e.Op == token.QUO || e.Op == token.REM) && constant.Sign(y) == 0:
		return nil, fmt.Errorf("division by zero")
	case e.Op == token.REM:
		x, y = constant.ToInt(x), constant.ToInt(y)
		if x.Kind() != constant.Int || y.Kind() != constant.Int {
			return nil, fmt.Errorf("%% wants whole numbers")
		}
	case e.Op != token.ADD && e.Op != token.SUB && e.Op != token.MUL && e.Op != token.QUO:
		return nil, fmt.Errorf("%s is not one of + - * / %%", e.Op)
	}
	return constant.BinaryOp(x, e.Op, y), nil
}
