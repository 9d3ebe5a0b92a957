// Command go uses clickhouse-go with each of its compressions over HTTP. It prints nothing but what went wrong.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2"
	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

func main() {
	methods := map[string]*clickhouse.Compression{
		"default": nil,
		"lz4":     {Method: clickhouse.CompressionLZ4},
		"zstd":    {Method: clickhouse.CompressionZSTD},
		"gzip":    {Method: clickhouse.CompressionGZIP, Level: 1},
		"deflate": {Method: clickhouse.CompressionDeflate, Level: 1},
	}
	failed := false
	for name, compression := range methods {
		if err := try(compression); err != nil {
			fmt.Printf("%s: %v\n", name, err)
			failed = true
		}
	}
	if failed {
		os.Exit(1)
	}
}

func open(user, password string, compression *clickhouse.Compression) (driver.Conn, error) {
	return clickhouse.Open(&clickhouse.Options{
		Addr:        []string{os.Getenv("ADDRESS")},
		Protocol:    clickhouse.HTTP,
		Auth:        clickhouse.Auth{Database: "default", Username: user, Password: password},
		Compression: compression,
	})
}

func try(compression *clickhouse.Compression) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	admin, err := open(os.Getenv("ADMIN"), os.Getenv("ADMIN_PASSWORD"), compression)
	if err != nil {
		return err
	}
	defer admin.Close()
	if err := admin.Ping(ctx); err != nil {
		return fmt.Errorf("ping: %w", err)
	}
	table := "CREATE OR REPLACE TABLE go (a Int64, s String, d DateTime64(3), n Nullable(Float64), l Array(String)) ENGINE = Memory"
	if err := admin.Exec(ctx, table); err != nil {
		return fmt.Errorf("create: %w", err)
	}
	batch, err := admin.PrepareBatch(ctx, "INSERT INTO go")
	if err != nil {
		return fmt.Errorf("batch: %w", err)
	}
	for number := int64(0); number < 1000; number++ {
		if err := batch.Append(number, "ä", time.UnixMilli(number), nil, []string{"x", "y"}); err != nil {
			return fmt.Errorf("append: %w", err)
		}
	}
	if err := batch.Send(); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	reader, err := open(os.Getenv("READER"), os.Getenv("READER_PASSWORD"), compression)
	if err != nil {
		return err
	}
	defer reader.Close()
	var total int64
	var words string
	row := reader.QueryRow(ctx, "SELECT sum(a), any(s) FROM go WHERE a >= ?", 500)
	if err := row.Scan(&total, &words); err != nil || total != 374750 || words != "ä" {
		return fmt.Errorf("sum: %d %q %w", total, words, err)
	}
	rows, err := reader.Query(ctx, "SELECT number FROM numbers(300000)")
	if err != nil {
		return fmt.Errorf("stream: %w", err)
	}
	count := 0
	for rows.Next() {
		count++
	}
	if err := rows.Err(); err != nil || count != 300000 {
		return fmt.Errorf("stream: %d rows, %w", count, err)
	}
	err = reader.Exec(ctx, "SELECT file('/etc/hostname')")
	if err == nil || !strings.Contains(err.Error(), "497") {
		return fmt.Errorf("the reader read a file: %w", err)
	}
	short, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	err = reader.QueryRow(short, "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))").Scan(&total)
	if err == nil {
		return fmt.Errorf("an endless query ended")
	}
	return nil
}
