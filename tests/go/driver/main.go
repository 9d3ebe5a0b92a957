// Command driver asks ClickHouse as Grafana's plugin does: with its driver over HTTP, gzip, a timeout for each query, and
// the row limit that the plugin sends as a setting.
//
// Statements come as a JSON list of texts on standard input; answers go out as a JSON list, each with its columns and the
// number of rows, or with an error.
package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"flag"
	"log"
	"os"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
)

type answer struct {
	Columns []string `json:"columns"`
	Types   []string `json:"types"`
	Rows    int      `json:"rows"`
	Error   string   `json:"error"`
}

func main() {
	address := flag.String("address", "", "host:port")
	user := flag.String("user", "", "user; the password is read from CLICKHOUSE_PASSWORD")
	database := flag.String("database", "", "the data source's defaultDatabase")
	timeout := flag.Int("timeout", 0, "the data source's queryTimeout, s")
	flag.Parse()
	var statements []string
	if err := json.NewDecoder(os.Stdin).Decode(&statements); err != nil {
		log.Fatal(err)
	}
	limit := time.Duration(*timeout) * time.Second
	db := clickhouse.OpenDB(&clickhouse.Options{
		Addr:        []string{*address},
		Protocol:    clickhouse.HTTP,
		Auth:        clickhouse.Auth{Database: *database, Username: *user, Password: os.Getenv("CLICKHOUSE_PASSWORD")},
		Compression: &clickhouse.Compression{Method: clickhouse.CompressionGZIP},
		DialTimeout: 10 * time.Second,
		ReadTimeout: limit,
		Settings:    clickhouse.Settings{"limit": "1000000"},
	})
	answers := make([]answer, 0, len(statements))
	for _, statement := range statements {
		answers = append(answers, ask(db, statement, limit))
	}
	if err := json.NewEncoder(os.Stdout).Encode(answers); err != nil {
		log.Fatal(err)
	}
}

func ask(db *sql.DB, statement string, limit time.Duration) answer {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	rows, err := db.QueryContext(ctx, statement)
	if err != nil {
		return answer{Error: err.Error()}
	}
	defer rows.Close()
	types, err := rows.ColumnTypes()
	if err != nil {
		return answer{Error: err.Error()}
	}
	told := answer{}
	values := make([]any, len(types))
	for at, kind := range types {
		told.Columns = append(told.Columns, kind.Name())
		told.Types = append(told.Types, kind.DatabaseTypeName())
		values[at] = new(any)
	}
	for rows.Next() {
		if err := rows.Scan(values...); err != nil {
			return answer{Error: err.Error()}
		}
		told.Rows++
	}
	if err := rows.Err(); err != nil {
		told.Error = err.Error()
	}
	return told
}
