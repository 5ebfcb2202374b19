package sqlite

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
)

// Records that arrive together share transactions: one that is refused must not
// take the others with it, and each caller hears of its own.
func TestRecordsThatArriveTogether(t *testing.T) {
	s := openNew(t)
	r, _ := create(t, s, "crowd")
	const sessions = 3 * maxRecords
	s.records.turn <- struct{}{} // until all are there
	var wg sync.WaitGroup
	for i := range sessions {
		id := r.ID
		if i%100 == 7 {
			id = "gone-0123456789"
		}
		wg.Go(func() {
			err := s.PutSession(t.Context(), isolde.Session{Runtime: id, ID: isolde.SessionID(fmt.Sprintf("session-%030d", i)), StartedAt: time.Now()})
			if (err == nil) != (id == r.ID) || err != nil && isolde.CodeOf(err) != isolde.CodeNotFound {
				t.Errorf("session %d of %s: %v", i, id, err)
			}
		})
	}
	for waiting := 0; waiting < sessions; time.Sleep(time.Millisecond) {
		s.records.mu.Lock()
		waiting = len(s.records.waiting)
		s.records.mu.Unlock()
	}
	<-s.records.turn
	wg.Wait()
	all, err := s.Sessions(t.Context(), r.ID, true, 0)
	if err != nil || len(all) != sessions-sessions/100 {
		t.Errorf("%d records, %v", len(all), err)
	}
}
