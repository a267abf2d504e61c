package shopcli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"

	"github.com/leveretmq/leveret/pkg/shop/auth"
	"github.com/leveretmq/leveret/pkg/shop/order"
	"github.com/leveretmq/leveret/pkg/shop/user"
)

// checkLists asks the REST API, as each customer, for their orders, and for one of somebody else. It returns what is
// wrong: an order that is missing, one too many, one that is not finished, or one that a stranger may see.
func (d *demonstration) checkLists(ctx context.Context, p *placing) (wrong []string) {
	ctx, cancel := d.answering(ctx)
	defer cancel()
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	for i, s := range d.shoppers {
		if err := s.logIn(ctx); err != nil { // the first session may have expired
			complain("%v", err)
			continue
		}
		states, err := s.orders(ctx)
		if err != nil {
			complain("%v", err)
			continue
		}
		for _, o := range p.orders {
			if !o.accepted() || o.customer != i {
				continue
			}
			state, listed := states[o.id]
			switch {
			case !listed:
				complain("the list of %s lacks order %s", s.email, o.id)
			case !(order.Status{State: order.State(state)}).Final():
				complain("the list of %s says that order %s is %s", s.email, o.id, state)
			}
			delete(states, o.id)
		}
		for id := range states {
			complain("the list of %s has order %s, which is not theirs", s.email, id)
		}
		foreign := slices.IndexFunc(p.orders, func(o placed) bool {
			return o.accepted() && o.customer != i
		})
		if foreign < 0 {
			continue
		}
		_, err = s.do(ctx, http.MethodGet, "/orders/"+p.orders[foreign].id, "", nil, nil)
		if refused, ok := errors.AsType[*refusal](err); !ok || refused.Status != http.StatusNotFound {
			complain("%s asked for order %s of another customer, and should not find it: %v", s.email, p.orders[foreign].id, err)
		}
	}
	return wrong
}

// checkUsers counts the users, and returns what is wrong with them: each customer must be known to the user service and
// to the auth service, exactly once.
func (d *demonstration) checkUsers(ctx context.Context) (n int, wrong []string, err error) {
	users, err := user.ReadAudit(ctx, d.system.store("user"))
	if err != nil {
		return 0, nil, fmt.Errorf("user: %w", err)
	}
	credentials, err := auth.ReadAudit(ctx, d.system.store("auth"))
	if err != nil {
		return 0, nil, fmt.Errorf("auth: %w", err)
	}
	known := make(map[string]int)
	for _, u := range users.Users {
		known[u.UserID]++
		if u.State != user.StateActive {
			wrong = append(wrong, fmt.Sprintf("user %s is %s", u.UserID, u.State))
		}
	}
	passwords := make(map[string]int)
	for _, id := range credentials.UserIDs {
		passwords[id]++
	}
	for _, s := range d.shoppers {
		if known[s.userID] != 1 || passwords[s.userID] != 1 {
			wrong = append(wrong, fmt.Sprintf("customer %s is stored %d times, and has %d passwords", s.email, known[s.userID], passwords[s.userID]))
		}
	}
	if len(users.Users) != len(d.shoppers) {
		wrong = append(wrong, fmt.Sprintf("%d customers registered, but %d are stored", len(d.shoppers), len(users.Users)))
	}
	return len(users.Users), wrong, nil
}

// leaked counts the lines of all logs that hold a secret: the customers' password, their card, or one of their tokens.
func (d *demonstration) leaked() (n int, err error) {
	secrets := []string{d.secret, string(d.card)}
	for _, s := range d.shoppers {
		secrets = append(secrets, s.tokens...)
	}
	for _, name := range d.system.services() {
		log, err := os.ReadFile(d.system.logFile(name))
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(log)) {
			if slices.ContainsFunc(secrets, func(s string) bool { return strings.Contains(line, s) }) {
				n++
			}
		}
	}
	return n, nil
}
