package agentcore

import (
	"encoding/base64"
	"strconv"
	"strings"

	"github.com/isolde-run/isolde"
)

// maxPage is the most a list operation returns, and what it returns unasked.
const maxPage = 100

// page is the part of a list that a caller asks for: what follows a row,
// whether that is still there or not. So nothing is lost or comes twice when
// rows come and go between two pages, and a token is good for ever.
type page struct {
	list  string // which one: a token is good for its own list only
	token string // as the caller gave it
	after string // key of the last row of the page before; empty: the first page
	limit int
}

// page reads what part of a list the caller asks for.
func (c *call) page(list string) (page, error) {
	p := page{list: list, token: c.query.Get("nextToken"), limit: maxPage}
	var problems isolde.Problems
	if s := c.query.Get("maxResults"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxPage {
			problems.Add("maxResults", "%q must be a number from 1 to %d", shorten(s), maxPage)
		}
		p.limit = n
	}
	if p.token != "" {
		b, err := base64.RawURLEncoding.DecodeString(p.token)
		after, ok := strings.CutPrefix(string(b), p.prefix())
		if err != nil || !ok || after == "" {
			problems.Join(p.foreign())
		}
		p.after = after
	}
	return p, problems.Err()
}

// foreign is the error of a token that is not this list's.
func (p page) foreign() error {
	return invalid("nextToken", "%q is not one that this operation gave for the %s", shorten(p.token), p.list)
}

func (p page) prefix() string { return p.list + "\n" }

// next is the token of the page after the row with the key.
func (p page) next(key string) string {
	return base64.RawURLEncoding.EncodeToString([]byte(p.prefix() + key))
}

// cut takes a page off rows that go on at p.after. There is a next page if
// they are more than fit.
func cut[T any](p page, rows []T, key func(T) string) ([]T, string) {
	if len(rows) <= p.limit {
		return rows, ""
	}
	return rows[:p.limit], p.next(key(rows[p.limit-1]))
}
