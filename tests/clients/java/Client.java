// Uses ClickHouse's JDBC driver and Java client with their defaults. It prints nothing but what went wrong.
import com.clickhouse.client.api.Client;
import com.clickhouse.client.api.query.GenericRecord;
import com.clickhouse.client.api.query.QuerySettings;
import java.sql.Connection;
import java.sql.DriverManager;
import java.sql.PreparedStatement;
import java.sql.ResultSet;
import java.sql.SQLException;
import java.sql.Statement;
import java.util.List;
import java.util.Properties;

class ClientTest {
    static final String URL = System.getenv("URL_");
    static final String ENDLESS = "SELECT count() FROM numbers(1000000000000) WHERE NOT ignore(sipHash64(number))";

    static void check(boolean holds, String what) {
        if (!holds) throw new AssertionError(what);
    }

    static Connection connect(String user) throws SQLException {
        Properties properties = new Properties();
        properties.setProperty("user", System.getenv(user));
        properties.setProperty("password", System.getenv(user + "_PASSWORD"));
        return DriverManager.getConnection("jdbc:clickhouse:" + URL, properties);
    }

    static void jdbc() throws Exception {
        try (Connection admin = connect("ADMIN"); Statement statement = admin.createStatement()) {
            statement.execute("CREATE OR REPLACE TABLE java (a Int64, s String) ENGINE = Memory");
            try (PreparedStatement insert = admin.prepareStatement("INSERT INTO java VALUES (?, ?)")) {
                for (long number = 0; number < 1000; number++) {
                    insert.setLong(1, number);
                    insert.setString(2, "ä");
                    insert.addBatch();
                }
                insert.executeBatch();
            }
        }
        try (Connection reader = connect("READER"); Statement statement = reader.createStatement()) {
            try (ResultSet row = statement.executeQuery("SELECT sum(a), any(s) FROM java")) {
                check(row.next() && row.getLong(1) == 499500 && row.getString(2).equals("ä"), "sum");
            }
            int count = 0;
            try (ResultSet rows = statement.executeQuery("SELECT number FROM numbers(300000)")) {
                while (rows.next()) count++;
            }
            check(count == 300000, "a stream of " + count + " rows");
            check(reader.getMetaData().getDatabaseProductVersion().startsWith("26."), "version");
            boolean found = false;
            try (ResultSet tables = reader.getMetaData().getTables(null, "default", "java", null)) {
                while (tables.next()) found |= tables.getString("TABLE_NAME").equals("java");
            }
            check(found, "getTables");
            try (ResultSet columns = reader.getMetaData().getColumns(null, "default", "java", null)) {
                check(columns.next() && columns.getString("COLUMN_NAME").equals("a"), "getColumns");
            }
            try {
                statement.executeQuery("SELECT file('/etc/hostname')");
                throw new AssertionError("the reader read a file");
            } catch (SQLException error) {
                check(error.getMessage().contains("497"), error.getMessage());
            }
            endless(statement);
        }
    }

    static void endless(Statement statement) throws Exception {
        Throwable[] ended = new Throwable[1];
        Thread thread = new Thread(() -> {
            try {
                statement.executeQuery(ENDLESS);
            } catch (SQLException error) {
                ended[0] = error;
            }
        });
        thread.start();
        Thread.sleep(2000);
        statement.cancel();
        thread.join(20000);
        check(!thread.isAlive() && ended[0] != null, "cancel() ended nothing: " + ended[0]);
    }

    static void client() throws Exception {
        try (Client client = new Client.Builder()
                .addEndpoint(URL).setUsername(System.getenv("READER")).setPassword(System.getenv("READER_PASSWORD"))
                .build()) {
            check(client.ping(), "ping");
            List<GenericRecord> records = client.queryAll("SELECT number FROM numbers(300000)");
            check(records.size() == 300000, "queryAll gave " + records.size());
            check(client.queryAll("SELECT 1 WHERE 0").isEmpty(), "an empty queryAll");
            try (var response = client.query("SELECT sum(a) FROM java", new QuerySettings()).get()) {
                check(response.getReadRows() > 0, "no rows in the summary");
            }
        }
    }

    public static void main(String[] arguments) throws Exception {
        jdbc();
        client();
        System.exit(0);
    }
}
