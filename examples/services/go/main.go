// A team's list of tasks, as ../README.md describes it.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/jirenius/go-res"
	"github.com/nats-io/nats.go"
)

// The role of those who may look, but change nothing.
const guests = "guest"

type task struct {
	ID   int    `json:"id"`
	Text string `json:"text"`
	Done bool   `json:"done"`
	// The user who has added it.
	By *int `json:"by"`
}

func (t *task) rid() string { return fmt.Sprintf("team.task.%d", t.ID) }

// What Relogin has given the connection of a user who is logged in. No client can set it.
type token struct {
	UserID int    `json:"userId"`
	Role   string `json:"role"`
}

// In memory: each start begins with these.
var tasks = []*task{
	{ID: 1, Text: "Read about RES", Done: true},
	{ID: 2, Text: "Write a service"},
}
var lastID = 2

func main() {
	url := nats.DefaultURL
	if len(os.Args) > 1 {
		url = os.Args[1]
	}

	// Handlers of a group run one after the other, so the tasks need no lock.
	group := res.Group("tasks")
	service := res.NewService("team")
	service.Handle("tasks", group, res.Access(access), res.GetCollection(getTasks),
		res.Call("add", add), res.Call("remove", remove))
	service.Handle("task.$id", group, res.Access(access), res.GetModel(getTask), res.Set(set))

	// The server knows of all subscriptions.
	service.SetOnServe(func(*res.Service) {
		if err := service.Conn().(*nats.Conn).Flush(); err != nil {
			log.Fatal(err)
		}
		fmt.Println("ready")
	})
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, func() { service.Shutdown() })

	// Sends system.reset, now and after each reconnect: gateways ask again for all that they have of
	// this service, for they may have missed something.
	if err := service.ListenAndServe(url); err != nil {
		log.Fatal(err)
	}
}

func access(r res.AccessRequest) {
	var t *token
	r.ParseToken(&t)
	switch {
	case t == nil:
		r.AccessDenied()
	case t.Role == guests:
		r.Access(true, "")
	default:
		r.AccessGranted()
	}
}

func getTasks(r res.CollectionRequest) {
	refs := make([]res.Ref, len(tasks))
	for i, t := range tasks {
		refs[i] = res.Ref(t.rid())
	}
	r.Collection(refs)
}

func getTask(r res.ModelRequest) {
	if t := find(r.ResourceName()); t != nil {
		r.Model(t)
	} else {
		r.NotFound()
	}
}

func add(r res.CallRequest) {
	var p struct {
		Text string `json:"text"`
	}
	var by token
	r.ParseParams(&p)
	r.ParseToken(&by)
	text, ok := checkText(r, p.Text)
	if !ok {
		return
	}
	lastID++
	t := &task{ID: lastID, Text: text, By: &by.UserID}
	tasks = append(tasks, t)
	r.AddEvent(res.Ref(t.rid()), len(tasks)-1)
	r.Resource(t.rid())
}

func remove(r res.CallRequest) {
	var p struct {
		ID int `json:"id"`
	}
	r.ParseParams(&p)
	idx := slices.IndexFunc(tasks, func(t *task) bool { return t.ID == p.ID })
	if idx < 0 {
		r.NotFound()
		return
	}
	t := tasks[idx]
	if !t.Done {
		r.Error(&res.Error{
			Code:    "team.notDone",
			Message: "A task that is not done cannot be removed",
			Data:    map[string]int{"id": t.ID},
		})
		return
	}
	tasks = slices.Delete(tasks, idx, idx+1)
	r.RemoveEvent(idx)
	if removed, err := r.Service().Resource(t.rid()); err == nil {
		removed.DeleteEvent()
	}
	r.OK(nil)
}

func set(r res.CallRequest) {
	t := find(r.ResourceName())
	if t == nil {
		r.NotFound()
		return
	}
	var p struct {
		Text *string `json:"text"`
		Done *bool   `json:"done"`
	}
	r.ParseParams(&p)
	changed := map[string]any{}
	if p.Text != nil {
		text, ok := checkText(r, *p.Text)
		if !ok {
			return
		}
		if text != t.Text {
			t.Text, changed["text"] = text, text
		}
	}
	if p.Done != nil && *p.Done != t.Done {
		t.Done, changed["done"] = *p.Done, *p.Done
	}
	r.ChangeEvent(changed) // none if nothing has changed
	r.OK(nil)
}

func find(rid string) *task {
	idx := slices.IndexFunc(tasks, func(t *task) bool { return t.rid() == rid })
	if idx < 0 {
		return nil
	}
	return tasks[idx]
}

// Answers the request with an error if the text is empty.
func checkText(r res.CallRequest, text string) (string, bool) {
	text = strings.TrimSpace(text)
	if text == "" {
		r.InvalidParams("A task needs a text")
	}
	return text, text != ""
}
